// Handlers that stream, for tests/unit/test_streaming.py: they do what the steps in their event say.
const fs = require("node:fs");

async function exists(file) {
  while (!fs.existsSync(file)) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const steps = Array.isArray(event) ? event : JSON.parse(event.body);
  for (const [what, ...more] of steps) {
    if (what === "write") {
      stream.write(more[0]);
    } else if (what === "wait") {
      await exists(more[0]);
    } else if (what === "head") {
      stream = awslambda.HttpResponseStream.from(stream, more[0]);
    } else if (what === "fail") {
      throw new RangeError("midway");
    }
  }
  stream.end();
});
