// Lambda's Runtime API over one connection that stays open. Answers have a Content-Length, so that reading them is little
// work; `node:http` would take twice as long for each event.
import net from "node:net";

import { errorObject } from "./errors.mjs";

const VERSION = "/2018-06-01/runtime";
const END_OF_HEAD = Buffer.from("\r\n\r\n");

export class RuntimeClient {
  #host;
  #port;
  #socket = null;
  #pieces = [];
  #head = null;
  #resolve = null;
  #Unwritable;

  // `Unwritable` is the error that a result is which is no JSON.
  constructor(address, Unwritable = Error) {
    this.#Unwritable = Unwritable;
    const [host, port] = address.split(":");
    this.#host = host;
    this.#port = Number(port);
    this.address = address;
  }

  // The next event: waits for it.
  next() {
    return this.#call("GET", "/invocation/next");
  }

  // An answer. Throws at once when it is no JSON.
  response(id, result) {
    let body;
    try {
      body = JSON.stringify(result === undefined ? null : result) ?? "null";
    } catch {
      throw new this.#Unwritable("Unable to stringify response body");
    }
    return this.#posted(`/invocation/${id}/response`, body);
  }

  // Without a header for its type, as AWS's client sends none that the platform knows.
  error(id, error) {
    return this.#call("POST", `/invocation/${id}/error`, JSON.stringify(errorObject(error)));
  }

  initError(error) {
    const described = errorObject(error);
    const type = String(described.errorType).replace(/[^\x20-\x7e]/g, "?");
    const header = `Lambda-Runtime-Function-Error-Type: ${type}\r\n`;
    return this.#call("POST", "/init/error", JSON.stringify(described), header);
  }

  async #posted(path, body) {
    const { status } = await this.#call("POST", path, body);
    if (status >= 300) {
      const text = `Failed to post handler success response. Http response code: ${status}.`;
      process.stderr.write(`[ERROR] [${Date.now()}] LAMBDA_RUNTIME ${text}\n`);
    }
  }

  #call(method, path, body = "", more = "") {
    const payload = Buffer.from(body);
    const head =
      `${method} ${VERSION}${path} HTTP/1.1\r\nHost: ${this.address}\r\nContent-Type: application/json\r\n` +
      `${more}Content-Length: ${payload.length}\r\n\r\n`;
    const socket = this.#connected();
    return new Promise((resolve) => {
      this.#resolve = resolve;
      socket.ref(); // while an answer is due, the process has something to do
      socket.write(Buffer.concat([Buffer.from(head), payload]));
    });
  }

  #connected() {
    if (this.#socket === null) {
      this.#socket = net.connect({ host: this.#host, port: this.#port, noDelay: true });
      this.#socket.on("data", (chunk) => this.#read(chunk));
      // The poller is gone, and with it everybody who would take an answer.
      this.#socket.on("error", () => process.exit(1));
      this.#socket.on("close", () => process.exit(1));
    }
    return this.#socket;
  }

  #read(chunk) {
    this.#pieces.push(chunk);
    if (this.#head === null) {
      const all = this.#pieces.length === 1 ? chunk : Buffer.concat(this.#pieces);
      const end = all.indexOf(END_OF_HEAD);
      if (end < 0) {
        this.#pieces = [all];
        return;
      }
      this.#head = headersOf(all.toString("utf8", 0, end));
      this.#pieces = [all.subarray(end + END_OF_HEAD.length)];
    }
    const length = Number(this.#head["content-length"]);
    const come = this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (come < length) {
      return;
    }
    const answer = { status: this.#head.status, headers: this.#head, body: Buffer.concat(this.#pieces).toString("utf8", 0, length) };
    const resolve = this.#resolve;
    this.#head = null;
    this.#pieces = [];
    this.#resolve = null;
    this.#socket.unref(); // what keeps the event loop busy from here on is the handler's
    resolve(answer);
  }
}

function headersOf(head) {
  const [first, ...lines] = head.split("\r\n");
  const headers = { status: Number(first.split(" ")[1]) };
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  return headers;
}
