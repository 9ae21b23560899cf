"""A `bootstrap` that does at each event what the event says, for the tests of the Runtime API (E.1).

Written into a function's folder with a first line that names the interpreter. Standard library only.
"""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ADDRESS = os.environ["AWS_LAMBDA_RUNTIME_API"]
INVOCATION = "/2018-06-01/runtime/invocation/"


class Api:
    def __init__(self):
        self.connection = http.client.HTTPConnection(ADDRESS)

    def call(self, method, path, body=None, headers=None, **more):
        self.connection.request(method, path, body, headers or {}, **more)
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


def main():
    script = os.environ.get("AT_INIT", "")
    api = Api()
    if script == "exit":
        sys.exit(5)
    if script == "error":
        headers = {"Lambda-Runtime-Function-Error-Type": "Runtime.MyInit"}
        api.call("POST", "/2018-06-01/runtime/init/error", b'{"errorMessage":"no","errorType":"X"}', headers)
        sys.exit(1)
    if script == "restore error":
        assert api.call("GET", "/2018-06-01/runtime/restore/next")[0] == 200
        api.call("POST", "/2018-06-01/runtime/restore/error", b'{"errorMessage":"not restored"}')
        time.sleep(60)
    begun = Path(os.environ["TMPDIR"], "begun")
    if script == "slow once" and not begun.exists():
        begun.touch()
        time.sleep(60)
    while True:
        _, headers, event = api.call("GET", INVOCATION + "next")
        answer(api, headers["Lambda-Runtime-Aws-Request-Id"], headers, json.loads(event))


def answer(api, request_id, headers, event):  # noqa: C901, PLR0912, PLR0915 - a table
    respond = INVOCATION + request_id + "/response"
    match event:
        case ["echo", value]:
            api.call("POST", respond, json.dumps(value))
        case ["raw error", error_type, body]:
            named = {"Lambda-Runtime-Function-Error-Type": error_type}
            api.call("POST", INVOCATION + request_id + "/error", body, named)
        case ["until", path]:
            while not Path(path).exists():
                time.sleep(0.002)
            api.call("POST", respond, "null")
        case ["print", text]:
            print(text, flush=True)
            api.call("POST", respond, b"null")
        case ["raise", text]:
            print(f"ValueError: {text}", flush=True)
            api.call("POST", INVOCATION + request_id + "/error", json.dumps({"errorMessage": text}))
        case ["headers"]:
            seen = {name: value for name, value in headers.items() if name.startswith("Lambda-")}
            seen["remaining"] = int(headers["Lambda-Runtime-Deadline-Ms"]) - time.time() * 1000
            api.call("POST", respond, json.dumps(seen))
        case ["twice"]:
            statuses = [api.call("POST", respond, str(number))[0] for number in range(2)]
            print("statuses", statuses, flush=True)
        case ["another id"]:
            status, _, body = api.call("POST", INVOCATION + "other/response", b"1")
            api.call("POST", respond, json.dumps([status, json.loads(body)]))
        case ["ask again"]:
            _, again, _ = Api().call("GET", INVOCATION + "next")
            api.call("POST", respond, json.dumps(again["Lambda-Runtime-Aws-Request-Id"] == request_id))
        case ["chunked", *pieces]:
            api.call("POST", respond, (piece.encode() for piece in pieces), encode_chunked=True)
        case ["large", size]:
            print("status", api.call("POST", respond, b"x" * size)[0], flush=True)
        case ["hang up"]:
            api.connection.putrequest("POST", respond)
            api.connection.putheader("Content-Length", "10")
            api.connection.endheaders(b"12345")
            api.connection.close()
        case ["garbage"]:
            api.connection.sock.sendall(b"garbage\r\n\r\n")
            print(api.connection.sock.recv(1000), flush=True)
            api.connection.close()
            api.call("POST", respond, b'"recovered"')
        case ["wrong host"]:
            print(Api().call("GET", "/2018-06-01/ping", headers={"Host": "evil.example:80"})[0], flush=True)
            api.call("POST", respond, b"1")
        case ["answer and exit", status]:
            api.call("POST", respond, b'"answered"')
            os._exit(status)
        case ["answer and read nothing", size]:  # the connection holds it when the process is gone
            api.connection.putrequest("POST", respond)
            api.connection.putheader("Content-Length", str(size))
            api.connection.endheaders(b"x" * size)
            os._exit(0)
        case ["exit", status]:
            os._exit(status)
        case ["kill", number]:
            os.kill(os.getpid(), number)
            time.sleep(60)
        case ["child", *_]:
            print("child", subprocess.Popen(["sleep", "60"]).pid, flush=True)
            time.sleep(60)
        case ["print after answer", text]:
            api.call("POST", respond, b"1")
            print(text, flush=True)
        case ["limit"]:
            import resource

            api.call("POST", respond, json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        case ["environment"]:
            api.call("POST", respond, json.dumps({"variables": dict(os.environ), "folder": str(Path.cwd())}))
        case ["at sigterm", path]:
            signal.signal(signal.SIGTERM, lambda *_: (Path(path).touch(), os._exit(0)))
            api.call("POST", respond, b"1")


main()
