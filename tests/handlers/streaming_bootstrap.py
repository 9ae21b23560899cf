"""A `bootstrap` that streams its response as its event says, step by step (E.1).

Written into a function's folder with a first line that names the interpreter. Standard library only. The event is a
list of steps, or comes over HTTP with that as its body.
"""

import base64
import http.client
import json
import os
import socket
import time
from pathlib import Path

ADDRESS = os.environ["AWS_LAMBDA_RUNTIME_API"]
INVOCATION = "/2018-06-01/runtime/invocation/"


def main():
    connection = http.client.HTTPConnection(ADDRESS)
    while True:
        connection.request("GET", INVOCATION + "next")
        given = connection.getresponse()
        event = json.loads(given.read())
        steps = event if isinstance(event, list) else json.loads(event["body"])
        respond(INVOCATION + given.headers["Lambda-Runtime-Aws-Request-Id"], steps)


def respond(path, steps):  # noqa: C901 - a table
    kind = next((step[1] for step in steps if step[0] == "type"), "text/plain")
    host, _, port = ADDRESS.partition(":")
    with socket.create_connection((host, int(port))) as connected:
        connected.sendall(
            f"POST {path}/response HTTP/1.1\r\nHost: {ADDRESS}\r\nContent-Type: {kind}\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n\r\n".encode()
        )
        trailers = ""
        for step in steps:
            match step:
                case ["write", text]:
                    piece = text.encode("latin-1")
                    connected.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                case ["megabytes", number]:
                    for _ in range(number):
                        connected.sendall(b"100000\r\n" + b"x" * 1024 * 1024 + b"\r\n")
                case ["wait", file]:
                    while not Path(file).exists():
                        time.sleep(0.002)
                case ["touch", file]:
                    Path(file).touch()
                case ["garbage"]:
                    connected.sendall(b"no chunk\r\n")
                case ["another response", file]:
                    other = http.client.HTTPConnection(ADDRESS)
                    other.request("POST", path + "/response", b"1")
                    Path(file).write_text(str(other.getresponse().status))
                case ["fail", error_type, error]:
                    body = base64.b64encode(json.dumps(error).encode()).decode()
                    trailers = f"Lambda-Runtime-Function-Error-Type: {error_type}\r\n"
                    trailers += f"Lambda-Runtime-Function-Error-Body: {body}\r\n"
        connected.sendall(f"0\r\n{trailers}\r\n".encode())
        told = http.client.HTTPResponse(connected)
        told.begin()
    for step in steps:
        if step[0] == "note the status":
            Path(step[1]).write_text(str(told.status))


main()
