"""The programs `mariadb` and `mysql`, by which an administrator runs statements."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.servers import debian
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
    package, suite_name = PACKAGES[program]
    libraries = folder / "lib"
    libraries.mkdir()
    with (
        debian.suite(suite_name) as suite,
        tempfile.TemporaryDirectory(prefix="dbaudit-client-") as unpacked,
    ):
        needed = [name for name in suite.needed_by([package]) if not name.startswith(NOT_LOADED)]
        suite.unpack(needed, Path(unpacked))
        for found in sorted(Path(unpacked).rglob("*.so*")):
            if found.is_file() and not (libraries / found.name).exists():
                shutil.copy(found, libraries / found.name)
        shutil.copy(Path(unpacked) / "usr/bin" / program, libraries / program)
    loader = next(libraries.glob("ld-linux*"))
    script = folder / program
    script.write_text(
        "#!/bin/sh\n"
        'lib="$(dirname "$(readlink -f "$0")")/lib"\n'
        f'exec "$lib/{loader.name}" --library-path "$lib" --argv0 {program} "$lib/{program}" \\\n'
        '  "${@}"\n'
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path in (script, loader) else 0o444))
