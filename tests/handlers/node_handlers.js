// Handlers for tests/unit/test_node.py: CommonJS, as a person would write them.
const fs = require("node:fs");

let calls = 0;

exports.echo = async (event) => event;
exports.nothing = async () => {};
exports.count = async () => ({ calls: ++calls, pid: process.pid });
exports.nested = { deep: { handler: async () => "nested" } };
exports.notAFunction = "text";

exports.context = async (event, context) => ({
  ...context,
  remaining: context.getRemainingTimeInMillis(),
  trace: process.env._X_AMZN_TRACE_ID?.slice(0, 5),
});
exports.environment = async () => ({ variables: process.env, folder: process.cwd(), argv: process.argv.length });

exports.calledBack = (event, context, callback) => setTimeout(callback, 1, null, { from: "callback" });
exports.calledBackWithError = (event, context, callback) => callback(new RangeError("called"));
exports.succeeds = (event, context) => context.succeed("done");
exports.fails = (event, context) => context.fail("a string");
exports.done = (event, context) => context.done(null, [1]);
exports.eventLoop = (event, context, callback) => {
  const began = process.hrtime.bigint();
  context.callbackWaitsForEmptyEventLoop = event === "wait";
  setTimeout(() => fs.appendFileSync(process.env.NOTE, event), 150);
  callback(null, Number(process.hrtime.bigint() - began) >= 0);
};
exports.neither = () => 3;
exports.twice = (event, context, callback) => {
  callback(null, 1);
  callback(null, 2);
};

class CustomError extends Error {
  constructor(message) {
    super(message);
    this.name = "CustomError";
    this.code = 7;
  }
}
exports.throws = async (event) => {
  const thrown = {
    error: () => new Error("text"),
    "type error": () => new TypeError("bad type"),
    custom: () => new CustomError("mine"),
    string: () => "just text",
    number: () => 5,
    object: () => ({ a: 1 }),
    like: () => ({ name: "Like", message: "an error", stack: "Like: an error\n    at nowhere" }),
    undefined: () => undefined,
    empty: () => new Error(""),
  }[event]();
  throw thrown;
};
exports.throwsAtOnce = () => {
  throw new Error("at once");
};
exports.later = () => {
  setTimeout(() => {
    throw new Error("later");
  }, 1);
  return new Promise(() => {});
};
exports.unseen = () => {
  Promise.reject(new Error("unseen"));
  return new Promise((resolve) => setTimeout(resolve, 10_000));
};
exports.circle = async () => {
  const circle = {};
  circle.self = circle;
  return circle;
};
exports.never = () => new Promise(() => {});
exports.slow = () => new Promise((resolve) => setTimeout(resolve, 60_000));
exports.exits = (status) => process.exit(status);
exports.large = async (size) => "x".repeat(size);

exports.logs = async () => {
  console.log("hello %s", "world", { a: 1 });
  console.info("two\nlines");
  console.warn("careful");
  console.error(new Error("logged").message);
  console.debug("fine");
  console.trace("where");
  process.stdout.write("raw\n");
};

exports.stream = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType("text/plain");
  stream.write("a");
  stream.write({ b: 1 });
  stream.end();
});
exports.page = awslambda.streamifyResponse(async (event, stream) => {
  const page = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-mine": "1" } });
  page.write("body");
  page.end();
});
exports.streamFails = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("begun");
  throw new Error("midway");
});
exports.streamUnfinished = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("begun");
});
exports.streamNoPromise = awslambda.streamifyResponse((event, stream) => void stream.write("begun"));
exports.typedTooLate = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("begun");
  stream.setContentType("text/plain");
});
exports.streamsRequests = Object.assign(async () => 1, {
  [Symbol.for("aws.lambda.runtime.handler.streaming")]: "request",
});
