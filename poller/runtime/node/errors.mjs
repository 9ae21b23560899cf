// Errors that the runtime names, and error objects as AWS's runtime for Node.js makes them (A.4).
import util from "node:util";

function named(name) {
  const type = { [name]: class extends Error {} }[name];
  type.prototype.name = `Runtime.${name}`;
  return type;
}

export const ImportModuleError = named("ImportModuleError");
export const HandlerNotFound = named("HandlerNotFound");
export const MalformedHandlerName = named("MalformedHandlerName");
export const UserCodeSyntaxError = named("UserCodeSyntaxError");
export const MalformedStreamingHandler = named("MalformedStreamingHandler");
export const InvalidStreamingOperation = named("InvalidStreamingOperation");
export const JSONStringifyError = named("JSONStringifyError");
const CallbackHandlerDeprecated = named("CallbackHandlerDeprecated");

export class UnhandledPromiseRejection extends named("UnhandledPromiseRejection") {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}

const NO_CALLBACKS =
  "ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to " +
  "modify this function to use a supported handler signature to use Node.js 24 or later. For more information see " +
  "https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.";

export function refuseCallbacks(handler) {
  if (handler.length >= 3) {
    throw new CallbackHandlerDeprecated(NO_CALLBACKS);
  }
}

function looksLikeError(value) {
  const parts = value && [value.name, value.message, value.stack];
  return Boolean(parts) && parts.every((part) => part && typeof part === "string");
}

// The caller's payload.
export function errorObject(error) {
  try {
    if (util.types.isNativeError(error) || looksLikeError(error)) {
      return {
        errorType: error.name?.replace(/\x7F/g, "%7F"),
        errorMessage: error.message?.replace(/\x7F/g, "%7F"),
        trace: error.stack.replace(/\x7F/g, "%7F").split("\n"),
      };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: "handled",
      errorMessage:
        "callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack",
    };
  }
}

// For the log.
export function loggedObject(error) {
  const shown = (_key, value) => {
    if (!(value instanceof Error)) {
      return value;
    }
    const members = { errorType: value.name, errorMessage: value.message, code: value.code, ...value };
    if (typeof value.stack === "string") {
      members.stack = value.stack.split("\n");
    }
    return members;
  };
  try {
    return `\t${JSON.stringify(error, shown)}`;
  } catch {
    return `\t${JSON.stringify(errorObject(error))}`;
  }
}
