"""What an editor says to Node.js's inspector: its protocol over a WebSocket, as far as tests need it."""

from __future__ import annotations

import base64
import json
import os
import struct
from typing import Any

from debug_client import connected


class InspectorClient:
    """One session. Every wait ends after ten seconds."""

    def __init__(self, port: int) -> None:
        self._socket = connected(port)
        self._file = self._socket.makefile("rb")
        target = self._target()
        self._file.close()
        self._socket.close()
        self._socket = connected(port)
        self._file = self._socket.makefile("rb")
        self._upgrade(target)
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a request and wait for its result; events on the way are kept."""
        self._number += 1
        self._send(json.dumps({"id": self._number, "method": method, "params": parameters}).encode())
        while True:
            message = self._receive()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._events.append(message)

    def event(self, method: str) -> dict[str, Any]:
        """Wait for the next event of that name."""
        while True:
            for event in self._events:
                if event.get("method") == method:
                    self._events.remove(event)
                    parameters: dict[str, Any] = event["params"]
                    return parameters
            self._events.append(self._receive())

    def _target(self) -> str:
        self._socket.sendall(b"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        length = 0
        while line := self._file.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        url: str = json.loads(self._file.read(length))[0]["webSocketDebuggerUrl"]
        return "/" + url.rpartition("/")[2]

    def _upgrade(self, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [f"GET {target} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        self._socket.sendall("\r\n".join(lines).encode())
        assert b"101" in self._file.readline()
        while self._file.readline().strip():
            pass

    def _send(self, text: bytes) -> None:
        mask = os.urandom(4)
        size = bytes([0x80 | len(text)]) if len(text) < 126 else struct.pack(">BH", 0x80 | 126, len(text))
        masked = bytes(byte ^ mask[number % 4] for number, byte in enumerate(text))
        self._socket.sendall(b"\x81" + size + mask + masked)

    def _receive(self) -> dict[str, Any]:
        head = self._file.read(2)
        assert len(head) == 2, "the inspector is gone"
        size = head[1] & 0x7F
        if size == 126:
            size = struct.unpack(">H", self._file.read(2))[0]
        elif size == 127:
            size = struct.unpack(">Q", self._file.read(8))[0]
        message: dict[str, Any] = json.loads(self._file.read(size))
        return message
