"""`python -m tests.bench.default_window SECONDS run …`: the command line with another default window than AWS's 500 ms.

Windows are AWS's, whole seconds, so 100 ms can be measured in no other way.
"""

from __future__ import annotations

import sys

from poller import assembly, cli


def main() -> int:
    assembly.DEFAULT_WINDOW = float(sys.argv.pop(1))
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
