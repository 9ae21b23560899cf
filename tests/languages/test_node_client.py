"""A Node.js handler shows the same on AWS's own client, compiled, and on ours (A.4, E.4, E.5). `make languages`."""

import json
import re
import shutil

import pytest
from handlers.rig import HANDLERS, Function

from languages.build import built
from poller.model import Invocation

CLIENTS = ("poller", "aws")
"""A handler that wants to stream its request is left out: 3.3.0 of AWS's fails there with a ReferenceError of its own."""
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
OWN_LINES = ("INIT_START", "REPORT", "INIT_REPORT", "Executing '", "[ERROR] [")
"""The platform's with figures, one of the client's program, which Lambda's own runtimes do not have, and one that comes
about when the answer is refused: so it may stand before END or behind it."""


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(built("node") / "node_modules")
    shutil.copy(HANDLERS / "node_handlers.js", folder / "app.js")
    (folder / "syntax.js").write_text("exports.handler = async ( => 1;\n")
    (folder / "raises.js").write_text("throw new RangeError('not today');\n")
    return folder


def shown(code, client, handler, event, **more):
    """What the caller gets and what the log says, without what differs from run to run and the frames of each client."""
    fn = Function(handler, code=code, runtime="nodejs20.x", runtime_client=client, timeout=5.0)
    try:
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        arn = fn.configuration.function_arn
        results = [fn.environment.invoke(Invocation(f"id-{n}", payload, arn, **more)) for n in (1, 2)]
    finally:
        fn.environment.stop()
    lines = [TIME.sub("TIME", line) for line in fn.lines if not line.startswith(OWN_LINES)]
    status = [line.partition("Status: ")[2] for line in fn.lines if line.startswith("REPORT")]
    return (
        [(result.function_error, _frameless(result.payload.decode())) for result in results],
        *map(_frameless, lines),
        *status,
    )


def _frameless(text):
    """Without frames, and the module that asked for a missing one, which is the client's."""
    for pattern in (r',"    at [^"]*"', r"(?<=- )/\S*?index\.m?js"):
        text = re.sub(pattern, "", text)
    return text


@pytest.mark.parametrize(
    ("handler", "event"),
    [
        ("app.echo", {"a": [1, 2.5, True, None, "größer ✓"]}),
        ("app.echo", b""),
        ("app.echo", b"{"),
        *[
            (f"app.{name}", None)
            for name in ("nothing", "calledBack", "calledBackWithError", "succeeds", "fails", "done")
        ],
        *[(f"app.{name}", None) for name in ("neither", "twice", "never", "throwsAtOnce", "later", "unseen", "circle")],
        *[
            ("app.throws", kind)
            for kind in ("error", "type error", "custom", "string", "number", "object", "like", "undefined", "empty")
        ],
        ("app.exits", 3),
        ("app.exits", 0),
        ("app.large", 6_291_555),
        *[
            (f"app.{name}", None)
            for name in ("logs", "stream", "page", "streamFails", "streamNoPromise", "typedTooLate")
        ],
        ("app.streamUnfinished", None),
        ("app.absent", None),
        ("app.notAFunction", None),
        ("nowhere.handler", None),
        ("syntax.handler", None),
        ("raises.handler", None),
        ("handler", None),
        ("../app.handler", None),
    ],
)
def test_results_errors_and_logs_are_the_same(code, handler, event):
    ours, theirs = (shown(code, client, handler, event) for client in CLIENTS)
    assert ours == theirs


@pytest.mark.parametrize("client_context", [None, '{"custom":{"k":"ü"}}', "{"])
def test_the_context_object_is_the_same(code, client_context):  # E.4
    def varying(text):
        return re.sub(r'"remaining":\d+|\[\$LATEST\][0-9a-f]{32}', "", repr(text))

    ours, theirs = (shown(code, client, "app.context", {}, client_context=client_context) for client in CLIENTS)
    assert varying(ours) == varying(theirs)
