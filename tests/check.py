"""Everything that has to hold, in order, with the time that each part took: ``make test``.

Runs every part even when one fails, so that one run tells all; exits 1 if any did. Names as
arguments run those parts only: ``python tests/check.py lint types``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
PYTHON = sys.executable
SOURCES = ["conftest.py", "nbviz", "tests", "benchmarks", "notebooks", "docs"]
PYTEST = [PYTHON, "-m", "pytest", "-q", "--durations=8"]

PARTS: dict[str, list[str]] = {
    "format": [PYTHON, "-m", "ruff", "format", "--check", *SOURCES],
    "lint": [PYTHON, "-m", "ruff", "check", *SOURCES],
    "lint-ts": ["npm", "run", "--silent", "lint"],
    "types": [PYTHON, "-m", "mypy"],
    "types-ts": ["npm", "run", "--silent", "types"],
    "vitest": ["npm", "run", "--silent", "test"],
    "sizes": ["npm", "run", "--silent", "sizes"],
    "pytest": [*PYTEST, "-m", "not notebook", "--doctest-modules", "tests", "nbviz"],
    "docs": [PYTHON, "tests/docs_check.py"],
    "wheel": [PYTHON, "tests/wheel_check.py"],
    "notebook": [*PYTEST, "-m", "notebook", "tests/notebook"],
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        print(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
        return 2
    took: dict[str, tuple[float, bool]] = {}
    for name in names or PARTS:
        print(f"\n== {name}", flush=True)
        start = time.monotonic()
        done = subprocess.run(PARTS[name], cwd=ROOT, check=False)
        took[name] = (time.monotonic() - start, done.returncode == 0)
    print("\n== times")
    for name, (seconds, passed) in took.items():
        print(f"{name:10} {seconds:7.1f} s  {'passed' if passed else 'FAILED'}")
    failed = [name for name, (_, passed) in took.items() if not passed]
    print(f"{len(took) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
