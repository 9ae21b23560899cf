"""Writes poller/api/operation_table.py from botocore's service model, and shows it as a page's table.

botocore is an optional dependency of the program, so the program has its own list of what there is to refuse.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docs.model_tables import table
from poller.api.operations import BUILT

LONGEST_LINE = 121
TABLE = Path(__file__).parents[1] / "poller" / "api" / "operation_table.py"
HEAD = '''"""Every operation of Lambda's API with its method and path, as botocore's service model has them.

Written by `make docs`.
"""

from __future__ import annotations

OPERATIONS = (
'''
ELSEWHERE: dict[str, str] = {}
"""What there is instead of an operation that is not built."""


def operations() -> list[tuple[str, str, str]]:
    """Name, method and path of each operation."""
    from botocore.session import Session  # noqa: PLC0415 - of the extra `aws`

    model: Any = Session().get_service_model("lambda")
    names = sorted(model.operation_names)
    found = [(name, model.operation_model(name).http) for name in names]
    return [(name, http["method"], http["requestUri"]) for name, http in found]


def module() -> str:
    """The text of the program's own list."""
    return f"{HEAD}{''.join(map(_row, operations()))})\n"


def _row(values: tuple[str, str, str]) -> str:
    """As ruff formats it."""
    quoted = [f'"{value}"' for value in values]
    line = f"    ({', '.join(quoted)}),\n"
    return (
        line if len(line) <= LONGEST_LINE else "    (\n" + "".join(f"        {text},\n" for text in quoted) + "    ),\n"
    )


def page() -> str:
    """The list as a table of a page."""
    rows = []
    for name, method, path in operations():
        stands = "built" if name in BUILT else "501"
        rows.append([f"`{name}`", f"`{method} {path}`", stands, ELSEWHERE.get(name, "")])
    return table(["Operation", "Request", "", "Instead"], rows)
