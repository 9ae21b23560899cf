// Streamed responses: `awslambda.streamifyResponse`, and the stream that such a handler writes to (E.1).
import http from "node:http";
import { Writable } from "node:stream";

import { InvalidStreamingOperation, errorObject } from "./errors.mjs";
import { STREAMING } from "./handler.mjs";

const ERROR_TYPE = "Lambda-Runtime-Function-Error-Type";
const ERROR_BODY = "Lambda-Runtime-Function-Error-Body";
const INTEGRATION = "application/vnd.awslambda.http-integration-response";

class HttpResponseStream {
  static from(stream, prelude) {
    stream.setContentType(INTEGRATION);
    stream._onBeforeFirstWrite = (write) => {
      write(JSON.stringify(prelude));
      write(new Uint8Array(8));
    };
    return stream;
  }
}

export function provideAwslambda() {
  if (!["1", "true"].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) {
    globalThis.awslambda = {
      streamifyResponse: (handler) => Object.assign(handler, { [STREAMING]: "response" }),
      HttpResponseStream,
    };
  }
}

export class ResponseStream extends Writable {
  #contentType = "application/octet-stream";
  #request = null;
  #client;
  #path;
  #answer;

  constructor(client, id) {
    super();
    this.#client = client;
    this.#path = `/2018-06-01/runtime/invocation/${id}/response`;
    this.answered = new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  setContentType(type) {
    if (this.#request !== null) {
      throw new InvalidStreamingOperation("Cannot set content-type, too late.");
    }
    this.#contentType = type;
  }

  write(chunk, ...more) {
    const asIs = typeof chunk === "string" || Buffer.isBuffer(chunk) || chunk?.constructor === Uint8Array;
    return super.write(asIs ? chunk : JSON.stringify(chunk), ...more);
  }

  // The handler failed: what was written stays, and the error comes behind it.
  fail(error) {
    const described = errorObject(error);
    const request = this.#begun();
    request.addTrailers({
      [ERROR_TYPE]: String(described.errorType).replace(/[^\x20-\x7e]/g, "?"),
      [ERROR_BODY]: Buffer.from(JSON.stringify(described)).toString("base64"),
    });
    request.end();
  }

  _write(chunk, _encoding, done) {
    this.#begun().write(chunk, done);
  }

  _final(done) {
    this.#begun().end(done);
  }

  #begun() {
    if (this.#request === null) {
      const [hostname, port] = this.#client.address.split(":");
      this.#request = http.request(
        {
          hostname,
          port,
          path: this.#path,
          method: "POST",
          headers: {
            "Lambda-Runtime-Function-Response-Mode": "streaming",
            "Transfer-Encoding": "chunked",
            Trailer: [ERROR_TYPE, ERROR_BODY],
            "Content-Type": this.#contentType,
          },
        },
        (response) => response.resume().on("end", this.#answer),
      );
      this.#request.on("error", () => process.exit(1));
      this.#request.setNoDelay(true);
      this._onBeforeFirstWrite?.((piece) => this.#request.write(piece));
    }
    return this.#request;
  }
}
