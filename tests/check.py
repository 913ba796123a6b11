"""make test: every check of the repository, one after the other, with a summary at the end.

A check that fails does not stop the ones after it. The variable PYTEST holds more arguments for pytest.
"""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> int:
    started = time.monotonic()
    results = [_run(name, command) for name, command in _checks().items()]
    print("\n== summary")
    for line in results:
        print(line)
    failed = sum(line.startswith("FAILED") for line in results)
    print(
        f"{len(results) - failed} checks passed, {failed} failed in {time.monotonic() - started:.0f} s",
        flush=True,
    )
    return 1 if failed else 0


def _checks() -> dict[str, list[str]]:
    ruff = str(Path(sys.executable).with_name("ruff"))
    module = [sys.executable, "-m"]
    return {
        "database servers": [*module, "tests.servers", "fetch"],
        "ruff check": [ruff, "check", "."],
        "ruff format": [ruff, "format", "--check", "."],
        "mypy": [*module, "mypy"],
        "collection linters": [*module, "tests.lint_collection"],
        "ansible-test sanity": [*module, "tests.run_sanity"],
        # A file's tests share their servers, so a file stays with one worker.
        "pytest": [
            *(*module, "pytest", "--numprocesses=2", "--dist=loadfile", "--durations=15"),
            *shlex.split(os.environ.get("PYTEST", "")),
        ],
    }


def _run(name: str, command: list[str]) -> str:
    print(f"\n== {name}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, check=False).returncode
    # On a laptop a server that cannot be had is no failure: its tests say that they are skipped.
    optional = name == "database servers" and not os.environ.get("CI")
    verdict = "passed" if status == 0 else "missing" if optional else "FAILED"
    return f"{verdict:8}{time.monotonic() - started:7.1f} s  {name}"


if __name__ == "__main__":
    sys.exit(main())
