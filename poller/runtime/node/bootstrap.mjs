// The process in which a Node.js handler runs: loads it, asks Lambda's Runtime API for events, answers them.
//
// Plain Node, nothing installed. What a handler sees is what AWS's own runtime shows it: up to nodejs22.x a handler may
// call back, and one that neither calls back nor gives a promise is over when the event loop is empty; from nodejs24.x
// on only promises count.
import { RuntimeClient } from "./client.mjs";
import { logError, patchConsole, setRequestId } from "./console.mjs";
import { contextOf } from "./context.mjs";
import { JSONStringifyError, UnhandledPromiseRejection, refuseCallbacks } from "./errors.mjs";
import { isStreaming, loadHandler } from "./handler.mjs";
import { ResponseStream, provideAwslambda } from "./stream.mjs";

const PROMISES_ONLY = Number(/nodejs(\d+)/.exec(process.env.AWS_EXECUTION_ENV ?? "")?.[1] ?? 0) >= 24;
const CALLED_BACK = 129;
const REJECTED = 128;

patchConsole();
provideAwslambda();
const client = new RuntimeClient(process.env.AWS_LAMBDA_RUNTIME_API, PROMISES_ONLY ? JSONStringifyError : Error);

// What to do about an error that nobody caught: before the first event it fails the init, then the event in work.
let report = (error) => client.initError(error);
let whenIdle = () => {};

async function giveUp(title, error, status) {
  logError(title, error);
  await report(error);
  process.exit(status);
}

process.on("uncaughtException", (error) => giveUp("Uncaught Exception", error, CALLED_BACK));
process.on("unhandledRejection", (reason, promise) =>
  giveUp("Unhandled Promise Rejection", new UnhandledPromiseRejection(reason, promise), REJECTED),
);
process.on("beforeExit", () => whenIdle());

function isPromise(value) {
  return Boolean(value) && typeof value.then === "function";
}

// Calls a handler once; the promise that this gives is kept when its answer is out.
function called(handler, event, context, id) {
  return new Promise((resolve, reject) => {
    let finished = false;
    let waits = true;
    const answered = (posting) => posting.then(resolve, reject);
    const failed = (error) => {
      whenIdle = () => {};
      logError("Invoke Error", error);
      answered(client.error(id, error));
    };
    const succeeded = (result) => {
      whenIdle = () => {};
      answered(client.response(id, result));
    };
    // Only the first one counts. What cannot be sent leaves it open, so that the failure can still be told.
    const once = (complete) => (...given) => {
      if (!finished) {
        complete(...given);
        finished = true;
      }
    };
    const isFailure = (error) => error !== undefined && error !== null;
    const done = once((error, result) => (isFailure(error) ? failed(error) : succeeded(result)));
    const fail = once((error) => failed(isFailure(error) ? error : "handled"));
    const succeed = once(succeeded);
    const callback = once((error, result) => {
      if (isFailure(error)) {
        failed(error);
      } else if (waits) {
        whenIdle = () => setImmediate(() => succeeded(result));
      } else {
        succeeded(result);
      }
    });
    if (!PROMISES_ONLY) {
      const ofCallbacks = {
        get callbackWaitsForEmptyEventLoop() {
          return waits;
        },
        set callbackWaitsForEmptyEventLoop(value) {
          waits = value;
        },
        succeed,
        fail,
        done,
      };
      context = Object.assign(ofCallbacks, context);
      whenIdle = () => {
        finished = true;
        succeeded(null);
      };
    }
    try {
      const result = PROMISES_ONLY ? handler(event, context) : handler(event, context, callback);
      if (isPromise(result)) {
        result.then(succeed, fail).catch(fail);
      } else if (PROMISES_ONLY) {
        succeed(result);
      }
    } catch (error) {
      fail(error);
    }
  });
}

async function streamed(handler, event, context, id) {
  const stream = new ResponseStream(client, id);
  // As with AWS's runtime, whose request stays open: a stream that nobody ends is waited for until the timeout.
  const open = setInterval(() => {}, 2 ** 30);
  try {
    const result = handler(event, stream, context);
    if (!isPromise(result)) {
      throw "Streaming does not support non-async handlers."; // not an error: so its type is `string` there
    }
    if ((await result) !== undefined) {
      console.warn("Streaming handlers ignore return values.");
    }
  } catch (error) {
    logError("Invoke Error", error);
    stream.fail(error);
  }
  await stream.answered;
  clearInterval(open);
}

async function main() {
  let handler;
  try {
    handler = await loadHandler(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);
    if (PROMISES_ONLY && !isStreaming(handler)) {
      refuseCallbacks(handler);
    }
  } catch (error) {
    await giveUp(PROMISES_ONLY ? "Init Error" : "Uncaught Exception", error, PROMISES_ONLY ? 1 : CALLED_BACK);
  }
  const invoke = isStreaming(handler) ? streamed : called;
  for (;;) {
    const { headers, body } = await client.next();
    const id = headers["lambda-runtime-aws-request-id"];
    setRequestId(id);
    report = (error) => client.error(id, error);
    let event;
    let context;
    try {
      event = JSON.parse(body);
      context = contextOf(headers);
    } catch (error) {
      logError("Invoke Error", error);
      await client.error(id, error);
      continue;
    }
    await invoke(handler, event, context, id);
    // What is ready in the event loop comes before the next event.
    await new Promise((resolve) => setImmediate(resolve));
  }
}

await main();
