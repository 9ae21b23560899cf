"""A service whose asynchronous events come in over a socket: what `poller run` has, without HTTP and brokers.

`python tests/faults/async_service.py TEMPLATE SOCKET`. A line is an event, `FUNCTION JSON`; the answer is a line with
its request id once it is accepted, or one that begins with `refused`.
"""

from __future__ import annotations

import socketserver
import sys
import threading
from pathlib import Path

from poller import log, service
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.errors import PollerError
from poller.metrics import Metrics
from poller.stop_signals import StopSignals
from poller.template import load


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def main() -> int:
    template = load(Path(sys.argv[1]))
    log.configure("json", "INFO")
    metrics = Metrics()
    plane = ControlPlane(template, metrics, SystemClock())
    invoker = service.async_invoker(template, plane, metrics)
    invoker.open()
    stopping = StopSignals()
    service.tune()
    plane.start()
    invoker.start()

    class Sender(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                function, _, payload = line.rstrip(b"\n").partition(b" ")
                try:
                    answer = invoker.accept(function.decode(), "", payload)
                except PollerError as error:
                    answer = f"refused: {error}"
                self.wfile.write(answer.encode() + b"\n")

    path = Path(sys.argv[2])
    path.unlink(missing_ok=True)
    server = _Server(str(path), Sender)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stopping.wait()
    invoker.leave()
    plane.stop(invoker.drain)
    server.shutdown()
    invoker.stop(service.LAST_RECORDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
