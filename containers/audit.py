"""Known vulnerabilities of the pinned requirements, where advisories can be had; a line that says so where not.

`make lint` calls it, `make test` does not: what others publish tomorrow must not decide about a test run today.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINS = ("requirements.txt", "requirements-dev.txt", "requirements-functions.txt")
ASKED_FIRST = "urllib3"
"""One requirement is asked for before all others: where its index knows no advisories, nobody's time is taken."""
PATIENCE = 5
"""Seconds for one answer."""
LONGEST = 120
"""Seconds for all of them."""


def main() -> int:
    """0 when nothing is known, or nothing can be known; 1 with a line for each vulnerability."""
    pins = sorted(
        {line.partition(" ;")[0] for name in PINS for line in (ROOT / name).read_text().splitlines() if "==" in line}
    )
    first = [pin for pin in pins if pin.startswith(f"{ASKED_FIRST}==")]
    if not (audited(first) and (found := audited(pins))):
        print("audit: skipped, for no advisories about Python packages can be reached from here")
        return 0
    unknown = [item["name"] for item in found if "skip_reason" in item]
    vulnerable = [(item, vulnerability) for item in found for vulnerability in item.get("vulns", [])]
    for item, vulnerability in vulnerable:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"audit: {item['name']} {item['version']}: {vulnerability['id']}, fixed in {fixed}")
    without = f", no answer about {', '.join(unknown)}" if unknown else ""
    print(f"audit: {len(found) - len(unknown)} requirements, {len(vulnerable)} known vulnerabilities{without}")
    return 1 if vulnerable else 0


def audited(pins: list[str]) -> list[dict[str, object]]:
    """What pip-audit says of them; nothing when it had no answer about any."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as listed:
        listed.write("\n".join(pins))
        listed.flush()
        options = ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
        command = [sys.executable, "-m", "pip_audit", "-r", listed.name, *options, "--timeout", str(PATIENCE)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
            found: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError, KeyError):  # no connection: there is no report then
            return []
    return found if any("skip_reason" not in item for item in found) else []


if __name__ == "__main__":
    sys.exit(main())
