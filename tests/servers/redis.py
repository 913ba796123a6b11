"""redis-server of Debian, which the example of a plugin starts by itself."""

import shutil
import tempfile
from pathlib import Path

from tests.servers import debian
from tests.servers.cache import once

SUITE = "bookworm"
VERSION = "7.0"
PROGRAM = "redis-server"
PACKAGE = "redis-tools"  # has the program, of which that of the package redis-server is a link
# What the package depends on but the server does not load.
NOT_LOADED = (
    *("adduser", "debconf", "dpkg", "passwd", "perl", "tar"),
    *("libaudit", "libbz2", "libdb5", "libgdbm", "libpam", "libperl", "libselinux", "libsem", "libsepol"),
)


def program() -> Path:
    """redis-server, fetched with its libraries when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched.
    """
    return once(f"redis-{VERSION}", _fetch) / PROGRAM


def _fetch(folder: Path) -> None:
    libraries = folder / "lib"
    libraries.mkdir()
    with debian.suite(SUITE) as suite, tempfile.TemporaryDirectory(prefix="dbaudit-redis-") as unpacked:
        needed = [name for name in suite.needed_by([PACKAGE]) if not name.startswith(NOT_LOADED)]
        suite.unpack(needed, Path(unpacked))
        for found in sorted(Path(unpacked).rglob("l*.so.*")):
            if found.is_file():
                shutil.copy(found, libraries / found.name)
        shutil.copy(Path(unpacked) / "usr/bin/redis-check-rdb", libraries / PROGRAM)
    loader = next(libraries.glob("ld-linux*"))
    script = folder / PROGRAM
    script.write_text(
        "#!/bin/sh\n"
        'lib="$(dirname "$(readlink -f "$0")")/lib"\n'
        f'exec "$lib/{loader.name}" --library-path "$lib" "$lib/{PROGRAM}" "$@"\n'
    )
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
