// Calls of the AWS SDK for JavaScript against a service; prints what came of them as one JSON object (test_sdks.py).
// AWS_ENDPOINT_URL_LAMBDA says where the service is; the argument is a zip with a handler app.handler.
import { readFileSync } from "node:fs";
import * as lambda from "@aws-sdk/client-lambda";

const client = new lambda.LambdaClient({ maxAttempts: 1 });
const text = (bytes) => new TextDecoder().decode(bytes);
const call = (name, input) => client.send(new lambda[`${name}Command`](input));

async function refused(name, input) {
  try {
    await call(name, input);
    return null;
  } catch (error) {
    return [error.$metadata.httpStatusCode, error.name, error.message, error.Reason ?? ""];
  }
}

async function streamed(input) {
  const events = [];
  for await (const event of (await call("InvokeWithResponseStream", input)).EventStream) {
    events.push(event.PayloadChunk ? text(event.PayloadChunk.Payload) : (event.InvokeComplete.ErrorCode ?? "complete"));
  }
  return events;
}

const seen = {};
const names = [];
for await (const page of lambda.paginateListFunctions({ client, pageSize: 2 }, {})) {
  names.push(page.Functions.map((each) => each.FunctionName));
}
seen.pages = names;

const echo = await call("Invoke", { FunctionName: "echo", Payload: '{"a":1}', LogType: "Tail" });
seen.echo = [echo.StatusCode, echo.ExecutedVersion, text(echo.Payload)];
seen.tail = atob(echo.LogResult).startsWith("START RequestId: ");
const raised = await call("Invoke", { FunctionName: "raises", Payload: "{}" });
seen.raised = [raised.StatusCode, raised.FunctionError, JSON.parse(text(raised.Payload)).errorMessage];
seen.event = (await call("Invoke", { FunctionName: "echo", InvocationType: "Event", Payload: "{}" })).StatusCode;
seen.dry = (await call("Invoke", { FunctionName: "echo", InvocationType: "DryRun" })).StatusCode;
seen.streamed = await streamed({ FunctionName: "echo", Payload: "[1]" });
seen.failed = await streamed({ FunctionName: "raises", Payload: "[1]" });

seen.missing = await refused("Invoke", { FunctionName: "nobody" });
seen.throttled = await refused("Invoke", { FunctionName: "zero" });
seen.range = (await refused("UpdateFunctionConfiguration", { FunctionName: "echo", Timeout: 901 })).slice(0, 2);
seen.unbuilt = (await refused("ListCodeSigningConfigs", {})).slice(0, 2);

const FunctionName = "made";
const Role = "arn:aws:iam::123456789012:role/any";
const Code = { ZipFile: readFileSync(process.argv[2]) };
const made = await call("CreateFunction", { FunctionName, Role, Code, Runtime: "python3.13", Handler: "app.handler" });
seen.created = made.State;
await lambda.waitUntilFunctionActiveV2({ client, maxWaitTime: 20 }, { FunctionName });
const { Version } = await call("PublishVersion", { FunctionName });
await call("CreateAlias", { FunctionName, Name: "live", FunctionVersion: Version });
const live = await call("Invoke", { FunctionName, Qualifier: "live" });
seen.live = [live.ExecutedVersion, JSON.parse(text(live.Payload)).code];
await call("PutFunctionEventInvokeConfig", { FunctionName, MaximumRetryAttempts: 1 });
const config = await call("GetFunctionEventInvokeConfig", { FunctionName });
seen.config = [config.MaximumRetryAttempts, config.LastModified instanceof Date];
const url = await call("CreateFunctionUrlConfig", { FunctionName, AuthType: "NONE" });
seen.url = (await (await fetch(url.FunctionUrl)).json()).code;
await call("DeleteFunction", { FunctionName });
seen.deleted = (await refused("GetFunction", { FunctionName })).slice(0, 2);
console.log(JSON.stringify(seen));
