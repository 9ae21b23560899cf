"""In place of a runtime: speaks its protocol, pipes or Lambda's Runtime API, and is killed where its script says.

SCRIPT has one entry for each process of the function, `step:event` with the number of the event from 1, or empty; the
processes that come after those live as they should. With STREAMING, answers over the API are streams. FOLDER gets a file for each process, with its number, and `begun`,
where each process notes the events that it begins.
"""

import itertools
import os
import signal
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, os.environ["FRAMES"])
import frames

FOLDER = Path(os.environ["FOLDER"])


def script():
    for number, entry in enumerate(itertools.chain(os.environ["SCRIPT"].split(","), itertools.repeat(""))):
        try:
            with (FOLDER / f"process-{number}").open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            continue
        step, _, event = entry.partition(":")
        return step, int(event or 1)
    raise AssertionError


STEP, EVENT = script()


def die_at(step, event=EVENT):
    if (step, event) == (STEP, EVENT):
        os.kill(os.getpid(), signal.SIGKILL)


def die_when_stopped():
    """A process outside of the group kills this one while it is frozen, and would outlive it."""
    victim = os.getpid()
    if os.fork():
        return
    os.setsid()
    os.closerange(3, 4096)
    while os.getppid() == victim:
        if Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            os.kill(victim, signal.SIGKILL)
        time.sleep(0.001)
    time.sleep(60)
    os._exit(0)


def write(fd, header, payload=b"", *, half=False):
    if half:
        whole = (
            frames._PREFIX.pack(len(frames._encode(header)), len(payload)) + frames._encode(header).encode() + payload
        )
        os.write(fd, whole[: len(whole) // 2])
        return
    writer = frames.FrameWriter({"seconds": 0.0, **header}, payload)
    while not writer.write(fd):
        pass


def begin(request_id):
    with (FOLDER / "begun").open("a") as file:
        file.write(f"{request_id}\n")


def over_pipes():
    event_fd, reply_fd, _, memory_fd, *claims = map(int, sys.argv[2:])
    reader = frames.FrameReader()
    write(reply_fd, {"type": "ready"})
    die_at("ready")
    number = 0
    while True:
        try:
            while (frame := reader.read(event_fd)) is None:
                pass
        except EOFError:
            die_at("end")
            if STEP == "stay":
                time.sleep(60)
            return
        request_id = frame.header["request_id"]
        if (slot := frame.header["slot"]) is not None:
            die_at("unclaimed", number + 1)
            try:
                os.eventfd_read(claims[slot])
            except BlockingIOError:
                write(reply_fd, {"type": "skipped", "request_id": request_id})
                continue
        number += 1
        begin(request_id)
        die_at("read", number)
        answer = {"type": "response", "request_id": request_id}
        payload = frame.payload
        if (place := frame.header.get("memory")) is not None:
            payload = os.pread(memory_fd, place[1] - place[0], place[0])
        if ("half", number) == (STEP, EVENT):
            write(reply_fd, answer, payload, half=True)
            die_at("half", number)
        write(reply_fd, answer, payload)
        die_at("answered", number)


class Api:
    """A client of the Runtime API on one connection."""

    def __init__(self):
        self.host = os.environ["AWS_LAMBDA_RUNTIME_API"]
        name, _, port = self.host.partition(":")
        self.socket = socket.create_connection((name, int(port)))
        self.file = self.socket.makefile("rb")

    def send(self, method, path, body=b"", *, half=False):
        head = f"{method} /2018-06-01/runtime/invocation/{path} HTTP/1.1\r\nHost: {self.host}\r\n"
        whole = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self.socket.sendall(whole[: -len(body) // 2] if half else whole)

    def stream(self, path, body, number):
        """A response in pieces: its head, half of it, the rest, the end. `half` is in the middle of a piece."""
        mode = "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked"
        head = f"POST /2018-06-01/runtime/invocation/{path} HTTP/1.1\r\nHost: {self.host}\r\n{mode}\r\n\r\n"
        self.socket.sendall(head.encode())
        die_at("head", number)
        middle = len(body) // 2
        for piece in filter(None, (body[:middle], body[middle:])):
            self.socket.sendall(b"%x\r\n" % len(piece))
            if piece is not body[:middle] and ("half", number) == (STEP, EVENT):
                self.socket.sendall(piece[: len(piece) // 2])
                die_at("half", number)
            self.socket.sendall(piece + b"\r\n")
            die_at("piece", number)
        self.socket.sendall(b"0\r\n\r\n")

    def answer(self):
        self.file.readline()
        headers = {}
        while (line := self.file.readline().decode().strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return headers, self.file.read(int(headers["content-length"]))


def over_the_api():
    if STEP in {"end", "stay"}:
        signal.signal(signal.SIGTERM, lambda *_: die_at("end"))
    api = Api()
    api.send("GET", "next")
    die_at("ready")
    for number in itertools.count(1):
        headers, event = api.answer()
        request_id = headers["lambda-runtime-aws-request-id"]
        begin(request_id)
        die_at("read", number)
        if "STREAMING" in os.environ:
            api.stream(f"{request_id}/response", event, number)
        else:
            if ("half", number) == (STEP, EVENT):
                api.send("POST", f"{request_id}/response", event, half=True)
                die_at("half", number)
            api.send("POST", f"{request_id}/response", event)
        api.answer()
        die_at("answered", number)
        api.send("GET", "next")


if STEP == "frozen":
    die_when_stopped()
die_at("init")
if len(sys.argv) > 2:
    over_pipes()
else:
    over_the_api()
