"""redis-server of Debian, which the example of a plugin starts by itself."""

import os
import secrets
import shutil
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import processes
from tests.servers.account import server_account
from tests.servers.bundle import bundle
from tests.servers.cache import once
from tests.servers.errors import ServerFailedError
from tests.servers.ports import HOST, free_port, is_free

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
    source = "usr/bin/redis-check-rdb"
    bundle(folder, PROGRAM, suite=SUITE, package=PACKAGE, source=source, not_loaded=NOT_LOADED)


class RedisServer:
    """A server with the documented settings and users, gone at the end."""

    def __init__(self) -> None:
        self.host = HOST
        self.port = 0
        self.collector_password = secrets.token_urlsafe(24)
        self._admin_password = secrets.token_urlsafe(24)

    def __enter__(self) -> Self:
        self._folder = processes.new_run_folder("redis")
        configuration = self._folder / "redis.conf"
        configuration.touch(mode=0o600)
        server_account().own([self._folder, configuration])
        self.port = free_port()
        configuration.write_text(
            f'bind {HOST}\nport {self.port}\nsave ""\nslowlog-log-slower-than 0\nslowlog-max-len 10000\n'
            f"user default on >{self._admin_password} ~* &* +@all\n"
            f"user dbaudit on >{self.collector_password} -@all +ping +info +slowlog|get +client|setname\n"
        )
        environment = {"PATH": os.defpath}
        command: list[str | Path] = [program(), configuration]
        self._process = server_account().spawn(command, environment, self._folder, self._folder / "log")
        processes.wait_for(lambda: self._process.poll() is not None or not is_free(self.port), "redis-server")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def run_as_admin(self, *lines: str) -> None:
        """Runs commands, each a line of the inline protocol."""
        with socket.create_connection((self.host, self.port), timeout=10) as connection:
            for line in (f"AUTH default {self._admin_password}", *lines):
                connection.sendall(f"{line}\r\n".encode())
                answer = connection.recv(64 * 1024)
                if answer.startswith(b"-"):
                    raise ServerFailedError(answer.decode().strip())
