"""The linters of Ansible's ecosystem on a copy of the checkout: ansible-lint and those of antsibull.

Release notes are made, too, and have to name everything that there is; a release would be late to find out.
"""

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from tests.collection_copies import ABOUT, PROGRAMS, copy_checkout, environment

LINTERS = {
    "ansible-lint": ["ansible-lint", "--strict", "--nocolor"],
    "antsibull-docs": [
        *("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--check-extra-docs-refs"),
        *("--validate-collection-refs", "self", "--disallow-unknown-collection-refs", "."),
    ],
    "antsibull-changelog": ["antsibull-changelog", "lint"],
}
RELEASE = ["antsibull-changelog", "release", "--reload-plugins"]
NAMED = (
    "plugins/modules/*.py",
    "plugins/inventory/*.py",
    "plugins/lookup/*.py",
    "roles/*",
    "playbooks/*.yml",
)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dbaudit-lint-") as folder, ThreadPoolExecutor() as pool:
        linted = copy_checkout(Path(folder, "linted"))
        released = copy_checkout(Path(folder, "released"))
        running = [pool.submit(_lint, name, command, linted) for name, command in LINTERS.items()]
        running.append(pool.submit(_release, released))
        passed = [one.result() for one in running]
    return 0 if all(passed) else 1


def _lint(name: str, command: list[str], collection: Path) -> bool:
    started = time.monotonic()
    passed, written = _run(command, collection)
    if not passed:
        print(written)
    _say(name, passed, started)
    return passed


def _release(collection: Path) -> bool:
    """Makes the notes of the version in galaxy.yml if nobody did yet; takes this copy's fragments away."""
    started = time.monotonic()
    past = yaml.safe_load((collection / "changelogs" / "changelog.yaml").read_text())["releases"]
    passed, written = (True, "") if ABOUT["version"] in past else _run(RELEASE, collection)
    if passed:
        written = (collection / "CHANGELOG.rst").read_text()
        missing = [
            name for name, times in _names(collection).items() if written.count(f"\n- {name} - ") < times
        ]
        passed = not missing
        written += f"\nThese are not in the notes of a release: {', '.join(missing)}"
    if not passed:
        print(written)
    _say("release notes", passed, started)
    return passed


def _names(collection: Path) -> Counter[str]:
    """What the notes of the releases have to name, and how often: a role and a playbook can share a name."""
    found = (path.stem for pattern in NAMED for path in collection.glob(pattern))
    return Counter(f"{ABOUT['namespace']}.{ABOUT['name']}.{name}" for name in found)


def _run(command: list[str], collection: Path) -> tuple[bool, str]:
    """Whether the command succeeded without a warning, and what it wrote."""
    done = subprocess.run(
        [PROGRAMS / command[0], *command[1:]],
        cwd=collection,
        env={**environment(), "ANSIBLE_COLLECTIONS_PATH": str(collection.parents[2])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode == 0 and not re.search(
        r"^(WARNING|\[WARNING\])", done.stdout, re.MULTILINE
    ), done.stdout


def _say(name: str, passed: bool, started: float) -> None:
    verdict = "passed" if passed else "FAILED"
    print(f"{name} {verdict} in {time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
