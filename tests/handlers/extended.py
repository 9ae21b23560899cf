"""A handler that does at each event what the event says, for the tests of extensions, and one with an extension inside."""

import http.client
import json
import os
import subprocess
import threading
import time
from pathlib import Path

BASE = "/2020-01-01/extension/"


def call(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=10)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, dict(answer.headers), answer.read().decode()


def handler(event, _context):
    match event:
        case ["echo", value]:
            return value
        case ["print", text]:
            print(text)
        case ["raise", text]:
            raise ValueError(text)
        case ["child", *_]:
            os.write(1, f"child {subprocess.Popen(['sleep', '60']).pid}\n".encode())  # whole, whenever this is killed
            time.sleep(60)
        case ["until", path]:
            while not Path(path).exists():
                time.sleep(0.002)
        case ["exit", status]:
            os._exit(status)
        case ["call", method, path]:
            status, _, body = call(method, path)
            return [status, body]
    return None


def _extension(own):
    while True:
        event = call("GET", BASE + "event/next", headers=own)[2]
        with Path(os.environ["NOTE"]).open("a") as note:
            note.write(json.dumps(["event", json.loads(event)]) + "\n")


if os.environ.get("INTERNAL"):
    registered = call("POST", BASE + "register", '{"events":["INVOKE"]}', {"Lambda-Extension-Name": "inside"})
    identified = {"Lambda-Extension-Identifier": registered[1]["Lambda-Extension-Identifier"]}
    threading.Thread(target=_extension, args=(identified,), daemon=True).start()
