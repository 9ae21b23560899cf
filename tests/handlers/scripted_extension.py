"""An external extension that notes what it is told, for tests/unit/test_extensions.py. Standard library only."""

import http.client
import http.server
import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

NAME = Path(sys.argv[0]).name
NOTE = Path(os.environ["NOTE"])
BASE = "/2020-01-01/extension/"


def call(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")


def note(*what):
    with NOTE.open("a") as file:
        file.write(json.dumps(what) + "\n")


class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            note("telemetry", self.path, event)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


script = os.environ.get("EXTENSION", "")
if script == "limits":
    note("files", *resource.getrlimit(resource.RLIMIT_NOFILE))
if script == "crash":
    sys.exit(4)
events = json.dumps({"events": ["INVOKE"] if script == "no shutdown" else ["INVOKE", "SHUTDOWN"]})
headers = {"Lambda-Extension-Name": NAME, "Lambda-Extension-Accept-Feature": "accountId"}
status, told, known = call("POST", BASE + "register", events, headers)
own = {"Lambda-Extension-Identifier": told["Lambda-Extension-Identifier"]}
note("registered", status, known)
note("pid", os.getpid())
if script in {"telemetry", "logs"}:
    listener = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    destination = {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{listener.server_port}/here"}
    wanted = {
        "types": ["platform", "function", "extension"],
        "destination": destination,
        "buffering": {"timeoutMs": 25},
    }
    path = "/2022-07-01/telemetry"
    if script == "logs":
        path, wanted["schemaVersion"] = "/2020-08-15/logs", "2021-03-18"
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("PUT", path, json.dumps(wanted), own)
    note("subscribed", connection.getresponse().read().decode())
if script == "init error":
    call("POST", BASE + "init/error", None, {**own, "Lambda-Extension-Function-Error-Type": "Extension.Mine"})
print("extension speaks", flush=True)
while True:
    _, _, event = call("GET", BASE + "event/next", None, own)
    note("event", event)
    if event["eventType"] == "SHUTDOWN":
        if script == "stays":
            time.sleep(60)
        sys.exit(0)
    if script == "exit error":
        call("POST", BASE + "exit/error", None, {**own, "Lambda-Extension-Function-Error-Type": "Extension.Mine"})
    if script == "crash at event":
        sys.exit(5)
