"""The programs `mariadb` and `mysql`, by which an administrator runs statements."""

from collections.abc import Callable
from pathlib import Path

from tests.servers.bundle import bundle
from tests.servers.cache import once

# The package of each program, and the suite of Debian that has it.
PACKAGES = {"mariadb": ("mariadb-client-core", "bookworm"), "mysql": ("mysql-client-core", "sid")}
NOT_LOADED = ("perl", "libperl", "debconf", "dpkg", "tar", "coreutils", "mysql-common", "mariadb-common")


def client(program: str) -> Path:
    """``mariadb`` of 10.11 or ``mysql`` of 9.7, fetched when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched.
    """
    return once(f"client-{program}", lambda folder: _fetch(program, folder)) / program


def everything() -> list[Callable[[], object]]:
    """The fetches that fill the cache."""
    return [lambda program=program: client(program) for program in PACKAGES]  # type: ignore[misc]


def _fetch(program: str, folder: Path) -> None:
    package, suite = PACKAGES[program]
    source = f"usr/bin/{program}"
    bundle(folder, program, suite=suite, package=package, source=source, not_loaded=NOT_LOADED)
