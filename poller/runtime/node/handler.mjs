// Finds the function that `file.export` names, in CommonJS or as a module, as AWS's runtime for Node.js looks for it.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

import {
  HandlerNotFound,
  ImportModuleError,
  MalformedHandlerName,
  MalformedStreamingHandler,
  UserCodeSyntaxError,
} from "./errors.mjs";

export const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");

export async function loadHandler(root, name) {
  if (name.includes("..")) {
    throw new MalformedHandlerName(
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(name);
  const folder = name.slice(0, name.indexOf(base));
  const parts = /^([^.]*)\.(.*)$/.exec(base);
  if (parts === null) {
    throw new MalformedHandlerName("Bad handler");
  }
  const loaded = await load(root, folder, parts[1]);
  const handler = parts[2].split(".").reduce((value, key) => value && value[key], loaded);
  if (!handler) {
    throw new HandlerNotFound(`${name} is undefined or not exported`);
  }
  if (typeof handler !== "function") {
    throw new HandlerNotFound(`${name} is not a function`);
  }
  return handler;
}

export function isStreaming(handler) {
  const mode = handler[STREAMING];
  if (mode === undefined || mode === null || mode === false) {
    return false;
  }
  if (mode !== "response") {
    throw new MalformedStreamingHandler("Only response streaming is supported.");
  }
  return true;
}

async function load(root, folder, name) {
  try {
    return await found(root, folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new UserCodeSyntaxError(error);
    }
    if (error?.code === "MODULE_NOT_FOUND") {
      throw new ImportModuleError(error);
    }
    throw error;
  }
}

async function found(root, folder, name) {
  const file = path.resolve(root, folder, name);
  const require = createRequire(path.join(root, "index.js"));
  const required = (suffix) => (fs.existsSync(file + suffix) ? require(file + suffix) : undefined);
  const imported = (suffix) =>
    fs.existsSync(file + suffix) ? import(pathToFileURL(file + suffix).href) : undefined;
  const isModule = fs.existsSync(`${file}.js`) && isInModulePackage(path.dirname(file));
  return (
    required("") ||
    (isModule ? await imported(".js") : required(".js")) ||
    (await imported(".mjs")) ||
    required(".cjs") ||
    require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }))
  );
}

function isInModulePackage(folder) {
  if (folder.endsWith("/node_modules")) {
    return false;
  }
  const description = path.join(folder, "package.json");
  if (fs.existsSync(description)) {
    try {
      return JSON.parse(fs.readFileSync(description, "utf8"))?.type === "module";
    } catch (error) {
      console.warn(`${description} cannot be read, it will be ignored for ES module detection purposes.`, error);
      return false;
    }
  }
  return folder === "/" ? false : isInModulePackage(path.dirname(folder));
}
