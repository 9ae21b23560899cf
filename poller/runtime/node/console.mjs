// The console of a handler: lines as Lambda's log has them (E.5), each call one event, whatever lines are in it.
import fs from "node:fs";
import util from "node:util";

import { loggedObject } from "./errors.mjs";

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const FRAME = 0xa55a0000;
const TEXT = 3;
const JSON_TEXT = 2;

let requestId;
let asJson = false;
let frames = null;

export function setRequestId(id) {
  requestId = id;
}

export function patchConsole() {
  asJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === "JSON";
  if (process.env._LAMBDA_TELEMETRY_LOG_FD !== undefined) {
    frames = Number(process.env._LAMBDA_TELEMETRY_LOG_FD);
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
  }
  const least = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
  const logger = (level) => (LEVELS[level] >= least ? (...given) => write(level, given) : () => {});
  console.trace = logger("TRACE");
  console.debug = logger("DEBUG");
  console.info = logger("INFO");
  console.log = console.info;
  console.warn = logger("WARN");
  console.error = logger("ERROR");
  console.fatal = (...given) => write("FATAL", given);
}

export function logError(title, error) {
  const asError = error instanceof Error ? error : new Error(error);
  if (asJson) {
    console.error(asError);
  } else {
    console.error(title, loggedObject(asError));
  }
}

function write(level, given) {
  const now = new Date();
  const event = asJson ? jsonEvent(level, now, given) : textEvent(level, now, given);
  if (frames === null) {
    process.stdout.write(`${event.replace(/\n/g, "\r")}\n`);
    return;
  }
  const content = Buffer.from(asJson ? event : `${event}\n`);
  const head = Buffer.alloc(16);
  head.writeUInt32BE((FRAME | (asJson ? JSON_TEXT : TEXT) | (LEVELS[level] * 4)) >>> 0, 0);
  head.writeUInt32BE(content.length, 4);
  head.writeBigUInt64BE(BigInt(now.valueOf()) * 1000n, 8);
  writeWhole(Buffer.concat([head, content]));
}

// A pipe that is full takes a part, or nothing for the moment.
function writeWhole(bytes) {
  for (let start = 0; start < bytes.length; ) {
    try {
      start += fs.writeSync(frames, bytes, start);
    } catch (error) {
      if (error.code !== "EAGAIN") {
        return;
      }
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

function textEvent(level, now, given) {
  return `${now.toISOString()}\t${requestId}\t${level}\t${util.format(...given)}`;
}

function jsonEvent(level, now, given) {
  const event = { timestamp: now.toISOString(), level, requestId };
  if (given.length === 1) {
    event.message = given[0];
    try {
      return JSON.stringify(event, (_key, value) => (value instanceof Error ? jsonError(value) : value));
    } catch {
      event.message = util.format(given[0]);
      return JSON.stringify(event);
    }
  }
  event.message = util.format(...given);
  const error = given.find((one) => one instanceof Error);
  if (error !== undefined) {
    event.errorType = error.constructor?.name ?? "UnknownError";
    event.errorMessage = error.message;
    event.stackTrace = typeof error.stack === "string" ? error.stack.split("\n") : [];
  }
  return JSON.stringify(event);
}

function jsonError(error) {
  return {
    errorType: error.constructor?.name ?? "UnknownError",
    errorMessage: error.message,
    stackTrace: typeof error.stack === "string" ? error.stack.split("\n") : error.stack,
    ...error,
  };
}
