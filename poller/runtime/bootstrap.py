"""The process in which a Python handler runs: imports it, feeds it events, sends back what it returns or raises.

Started as `python -u bootstrap.py <marker> <event fd> <reply fd> <output fd> <memory fd> <claim fd>...` with the
variables of E.2 and the code folder as working folder; where there is no memory its number is -1. It imports the
standard library and files beside it, nothing else of this program, so the handler's interpreter needs nothing
installed. The frames, by `type` in the header:

    from the handler   ready | init_error | response | error | skipped; with `marked` when a marker ends the output,
                       and with the `seconds` that the event took
    to the handler     invoke, with request_id, limit (seconds), invoked_function_arn, trace_id, client_context,
                       slot where the event was laid ahead and must be claimed first, memory (from, to) where the
                       payload lies in what is shared until the answer, and columns where it is no JSON but that of
                       `event_columns`; end of file means: stop

Python's own rules stay as on Lambda: what is printed goes to the log, `sys.exit` ends the process, and the platform
(the parent) makes an error object of that (A.4).
"""

from __future__ import annotations

import fcntl
import importlib
import json
import logging
import mmap
import os
import sys
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from poller.runtime import frames, lambda_logging
    from poller.runtime.event_columns import unpack
    from poller.runtime.file_descriptors import UNTRACKED, out_of_reach
    from poller.runtime.lambda_context import LambdaContext


def _beside(name: str) -> Any:
    """The module in the file beside this one, loaded and forgotten again: a handler may have modules of these names."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs 5 ms a start
    sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)
        sys.path[:] = [path for path in sys.path if path != here]


if not TYPE_CHECKING:
    frames = _beside("frames")
    unpack = _beside("event_columns").unpack
    file_descriptors = _beside("file_descriptors")
    UNTRACKED, out_of_reach = file_descriptors.UNTRACKED, file_descriptors.out_of_reach
    LambdaContext = _beside("lambda_context").LambdaContext
    lambda_logging = _beside("lambda_logging")

_quote = json.encoder.encode_basestring_ascii

UNHANDLED_EXCEPTION = (
    "LAMBDA_WARNING: Unhandled exception. The most likely cause is an issue in the function code. However, in rare "
    "cases, a Lambda runtime update can cause unexpected function behavior. For functions using managed runtimes, "
    "runtime updates can be triggered by a function change, or can be applied automatically. To determine if the "
    "runtime has been updated, check the runtime version in the INIT_START log entry. If this error correlates with a "
    "change in the runtime version, you may be able to mitigate this error by temporarily rolling back to the previous "
    "runtime version. For more information, see https://docs.aws.amazon.com/lambda/latest/dg/runtimes-update.html"
)
"""What Lambda logs beside an error of init."""


class Fault(Exception):  # noqa: N818 - AWS's word
    """Bad code or bad data, named by the runtime and not by a Python exception (A.4)."""

    def __init__(self, error_type: str, message: str, stack_trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.stack_trace = stack_trace or []


class Encoder(json.JSONEncoder):
    """A handler's result as JSON, byte for byte as AWS's client writes it.

    Blanks behind commas and colons, Decimal written out as it is, NaN accepted, bytes taken for UTF-8, non-ASCII kept
    since 3.12.
    """

    def __init__(self, execution_env: str) -> None:
        version = execution_env.rpartition("python")[2].split(".")
        kept = len(version) == 2 and all(part.isdigit() for part in version) and tuple(map(int, version)) >= (3, 12)  # noqa: PLR2004
        super().__init__(ensure_ascii=not kept)
        self._decimals: dict[str, str] = {}

    def default(self, o: Any) -> Any:
        """A Decimal becomes a string that nobody can know, which `dump` replaces by the number."""
        if isinstance(o, bytes):
            return o.decode()
        # A handler that returns a Decimal has imported the module; all others need not pay for it.
        decimal = sys.modules.get("decimal")
        if decimal is None or not isinstance(o, decimal.Decimal):
            return super().default(o)
        if o.is_nan():
            return float("nan")
        placeholder = os.urandom(16).hex()
        self._decimals[f'"{placeholder}"'] = str(o)
        return placeholder

    def dump(self, result: Any) -> str:
        """Encode, or raise whatever the result gives rise to."""
        try:
            text = self.encode(result)
            for placeholder, number in self._decimals.items():
                text = text.replace(placeholder, number)
            return text
        finally:
            if self._decimals:
                self._decimals = {}


class Runtime:
    """The loop of E.1 on frames."""

    def __init__(
        self, marker: bytes, event_fd: int, reply_fd: int, output_fd: int, memory_fd: int, *claim_fds: int
    ) -> None:
        self._marker = marker
        self._event_fd, self._reply_fd, self._output_fd, *self._claim_fds = out_of_reach(
            event_fd, reply_fd, output_fd, *claim_fds
        )
        if memory_fd >= 0:
            self._memory = memoryview(mmap.mmap(memory_fd, 0, prot=mmap.PROT_READ, **UNTRACKED))
            os.close(memory_fd)
        os.register_at_fork(after_in_child=self._forked)
        self._reader = frames.FrameReader()
        self._waiting = bytearray(4)
        self._began = time.monotonic()
        self._encoder = Encoder(os.environ.get("AWS_EXECUTION_ENV", ""))
        self._log_sink = lambda_logging.LogSink(self._output_fd)
        self._is_fork = False
        self.request_id = ""

    def run(self) -> int:
        """Import the handler, then answer events until the end of file. Returns the exit status."""
        lambda_logging.set_up_logging(
            self._log_sink, lambda: self.request_id, lambda: _beside("log_formatter").JsonFormatter()
        )
        try:
            _join_control_group()
            _wait_for_debugger()
            handler = load_handler(os.environ["_HANDLER"])
        except Exception as error:  # noqa: BLE001 - whatever the handler's module raises is the answer
            logging.warning(UNHANDLED_EXCEPTION)  # noqa: LOG015 - as AWS's client does
            self._send_error("init_error", error)
            return 1
        self._send("ready")
        while True:
            try:
                frame = self._next()
            except EOFError:
                return 0
            self.handle_event_request(handler, frame)

    def handle_event_request(self, request_handler: Callable[[Any, LambdaContext], Any], frame: frames.Frame) -> None:
        """Run the handler and answer. By AWS's names, which a trace shows when the handler cannot be called."""
        header = frame.header
        self.request_id = header["request_id"]
        slot = header["slot"]
        if slot is not None and not self._claim(slot):
            self._send("skipped")
            return
        self._began = time.monotonic()
        os.environ["_X_AMZN_TRACE_ID"] = header["trace_id"]
        try:
            lambda_context = _context(header, self._began)
            place = header.get("memory")
            payload = frame.payload if place is None else self._memory[slice(*place)]
            event = _unmarshal(payload, columns=header.get("columns", False))
            response = request_handler(event, lambda_context)
            reply = response if isinstance(response, bytes) else self._marshal(response)
        except Exception as error:  # noqa: BLE001 - whatever the handler raises is the answer
            self._send_error("error", error)
        else:
            # A lone surrogate in it ends the process, as it does with AWS's client.
            encoded = reply.encode() if isinstance(reply, str) else reply
            self._send("response", encoded)

    def _marshal(self, result: Any) -> str:
        try:
            return self._encoder.dump(result)
        except Exception as error:  # noqa: BLE001
            raise Fault("Runtime.MarshalError", f"Unable to marshal response: {error}") from None

    def _claim(self, slot: int) -> bool:
        """Whether the event is still ours: else it was given to another environment meanwhile."""
        with suppress(BlockingIOError):
            os.read(self._claim_fds[slot], 8)  # not os.eventfd_read, which Python has since 3.10 only
            return True
        return False

    def _next(self) -> frames.Frame:
        while (frame := self._reader.read(self._event_fd)) is None:
            pass
        return frame

    def _send_error(self, kind: str, error: Exception) -> None:
        described = describe(error, self.request_id)
        described["errorMessage"].encode()  # a lone surrogate in it ends the process, as it does with AWS's client
        payload = self._encoder.dump(described).encode()
        if len(payload) > frames.MAXIMUM_PAYLOAD:
            lambda_logging.log_error(self._log_sink, described)
        # As AWS's client: of an error of init the platform is told the type, of one of an event only the object.
        error_type = described["errorType"] if kind == "init_error" else ""
        self._send(kind, payload, error_type)

    def _send(self, kind: str, payload: bytes = b"", error_type: str | None = None) -> None:
        if len(payload) > frames.MAXIMUM_PAYLOAD:
            error_type = "Function.ResponseSizeTooLarge"
            text = f"Response payload size exceeded maximum allowed payload size ({frames.MAXIMUM_PAYLOAD} bytes)."
            payload = json.dumps({"errorMessage": text, "errorType": error_type}, separators=(",", ":")).encode()
            kind = "init_error" if kind == "init_error" else "error"
        # By hand: an encoder takes four times as long, and there is one header in every answer.
        seconds = time.monotonic() - self._began
        header = f'{{"type":"{kind}","request_id":{_quote(self.request_id)},"seconds":{seconds!r}'
        if error_type is not None:
            header += f',"error_type":{_quote(error_type)}'
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a handler may have closed or removed it
                stream.flush()  # or put a buffered one in its place
        if self._is_fork:  # that came back from the handler
            os._exit(1)
        if self._output_waits():
            header += ',"marked":true'
            os.write(self._output_fd, self._marker)
        writer = frames.FrameWriter(f"{header}}}".encode(), payload)
        try:
            while not writer.write(self._reply_fd):
                pass
        except OSError:
            # The parent is gone, or the handler closed the descriptor.
            os._exit(1)

    def _output_waits(self) -> bool:
        """Whether output of this event is still unread, so that the next event's must be told from it."""
        fcntl.ioctl(self._output_fd, termios.FIONREAD, self._waiting)
        return any(self._waiting)

    def _forked(self) -> None:
        """In a fork: only the handler's own process may speak the protocol, or keep it open. A fork may log."""
        self._is_fork = True
        for fd in (self._event_fd, self._reply_fd, *self._claim_fds):
            with suppress(OSError):
                os.close(fd)


def _context(header: dict[str, Any], began: float) -> LambdaContext:
    try:
        return LambdaContext(header, began)
    except Exception as error:  # noqa: BLE001
        message = f"Unable to parse Client Context JSON: {error}"
        raise Fault("Runtime.LambdaContextUnmarshalError", message) from None


def _unmarshal(payload: bytes | memoryview, *, columns: bool) -> Any:
    if not payload:
        return {}  # A.1: an empty payload is legal
    try:
        if columns:
            return unpack(payload)
        try:
            return json.loads(str(payload, "utf-8"))
        except ValueError:
            return json.loads(str(payload, "utf-8-sig"))  # it may have a byte order mark, as AWS's client lets it
    except Exception as error:  # noqa: BLE001
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None


def load_handler(name: str) -> Callable[[Any, LambdaContext], Any]:
    """The function that `module.function`, `package.module.function` or `package/module.function` names."""
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        message = f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)"
        raise Fault("Runtime.MalformedHandlerName", message)
    if module_name.split(".")[0] in sys.builtin_module_names:
        message = f"Cannot use built-in module {module_name} as a handler module"
        raise Fault("Runtime.BuiltInModuleConflict", message)
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        message = f"Unable to import module '{module_name}': {error}"
        raise Fault("Runtime.ImportModuleError", message) from None
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        message = f"Syntax error in module '{module_name}': {error}"
        raise Fault("Runtime.UserCodeSyntaxError", message, trace) from None
    if not hasattr(module, function_name):
        raise Fault("Runtime.HandlerNotFound", f"Handler '{function_name}' missing on module '{module_name}'")
    handler: Callable[[Any, LambdaContext], Any] = getattr(module, function_name)
    return handler


def describe(error: Exception, request_id: str) -> dict[str, Any]:
    """The error object of A.4: keys in AWS's order, the runtime's own leading frames left out where others follow.

    An exception that cannot be printed raises once more, and that ends the process, as it does with AWS's client.
    """
    if isinstance(error, Fault):
        name, stack_trace = error.error_type, error.stack_trace
    else:
        import traceback  # noqa: PLC0415 - only failures pay for it

        # Tuples, because format_list then leaves out the markers under the source line, as Lambda does.
        frames_of_it = traceback.extract_tb(error.__traceback__)
        found = [(frame.filename, frame.lineno or 0, frame.name, frame.line) for frame in frames_of_it]
        theirs = next((place for place, frame in enumerate(found) if frame[0] != __file__), 0)
        name, stack_trace = type(error).__name__, traceback.format_list(found[theirs:])
    return {"errorMessage": str(error), "errorType": name, "requestId": request_id, "stackTrace": stack_trace}


def _wait_for_debugger() -> None:
    """Where the parent says so, and before the import: so it can stop in that."""
    port = os.environ.pop("_POLLER_DEBUG_PORT", None)
    if port is not None:
        import debugpy  # noqa: PLC0415, T100 - of the handler's interpreter, and only for who debugs

        debugpy.listen(("127.0.0.1", int(port)))  # noqa: T100 - asked for
        debugpy.wait_for_client()  # noqa: T100


def _join_control_group() -> None:
    """Where the parent says so, and before the import."""
    group = os.environ.pop("_POLLER_CONTROL_GROUP", None)
    if group is not None:
        _beside("own_control_group").join(group)


def main() -> NoReturn:
    """Entry point."""
    marker, *fds = sys.argv[1:]
    sys.argv[1:] = []
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    sys.exit(Runtime(b"\0%b\0" % marker.encode(), *map(int, fds)).run())


if __name__ == "__main__":
    main()
