"""A real MariaDB server with server_audit for a test: 10.5, 10.11 or 11.8 of Debian; gone afterwards."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path

from tests.servers import debian
from tests.servers.account import server_account
from tests.servers.cache import once
from tests.servers.errors import EngineMissingError, ServerFailedError
from tests.servers.mysql import Installation, MySQLServer, Setting, Tls
from tests.servers.ports import HOST

SUITES = {"10.5": "bullseye", "10.11": "bookworm", "11.8": "trixie"}
"""The suite of Debian that has each release."""
RELEASES = tuple(SUITES)
DEFAULT_RELEASE = "10.11"
# What the packages depend on but the server does not load.
NOT_LOADED = (
    *("perl", "libperl", "debconf", "dpkg", "tar", "libgdbm", "mysql-common", "mariadb-common"),
    *("coreutils", "libacl1", "libattr1", "sysv", "init"),
)
BOOTSTRAP = (
    "mysql_system_tables.sql",
    "mariadb_system_tables.sql",
    "mysql_performance_tables.sql",
    "mariadb_performance_tables.sql",
    "mysql_system_tables_data.sql",
    "mariadb_system_tables_data.sql",
    "maria_add_gis_sp_bootstrap.sql",
)
"""What makes the system tables, in this order; each release has those of one spelling."""


def installation(release: str = DEFAULT_RELEASE) -> Installation:
    """A release, fetched when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched, or is not one of RELEASES.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise EngineMissingError(f"there is no MariaDB for {platform.system()} {platform.machine()}")
    if release not in SUITES:
        raise EngineMissingError(f"MariaDB {release} is not one of {', '.join(RELEASES)}")
    folder = once(f"mariadb-{release}", lambda folder: _fetch(release, folder))
    libraries = [folder / "usr/lib/x86_64-linux-gnu", folder / "lib/x86_64-linux-gnu"]
    loader = next(path for library in libraries if (path := library / "ld-linux-x86-64.so.2").exists())
    share = _share(folder / "usr")
    places = (
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        f"--plugin-dir={folder / 'usr/lib/mysql/plugin'}",
    )
    command = (loader, "--library-path", ":".join(map(str, libraries)), folder / "usr/sbin/mariadbd")
    return Installation(release, command, folder / "usr", places)


def _share(base: Path) -> Path:
    return next(path for name in ("mariadb", "mysql") if (path := base / "share" / name).exists())


def everything() -> list[Callable[[], object]]:
    """The fetches that fill the cache with every release."""
    return [lambda release=release: installation(release) for release in RELEASES]  # type: ignore[misc]


def _fetch(release: str, folder: Path) -> None:
    version = "-10.5" if release == "10.5" else ""
    with debian.suite(SUITES[release]) as suite:
        needed = suite.needed_by([f"mariadb-server-core{version}"])
        # The plugins lie in the package of the whole server, whose own needs are none of theirs.
        loaded = [name for name in needed if not name.startswith(NOT_LOADED)]
        suite.unpack([*loaded, f"mariadb-server{version}"], folder)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


class MariaDBServer(MySQLServer):
    """One server, with a data folder of its own that is removed at the end.

    server_audit writes connections, statements and tables to ``audit_file``. The superuser logs in over the
    socket alone, with a random password.

    Args:
        release: one of RELEASES.
        settings: of the command line, with underscores, over the harness's own.
        audit: whether server_audit is loaded and on.
        umask: of the files that the server makes; 0660 is its default.
        time_zone: of the server's process, in which server_audit writes its time stamps.
        tls: whether TLS is off, offered or required.
    """

    product = "MariaDB"

    def __init__(
        self,
        release: str = DEFAULT_RELEASE,
        *,
        settings: dict[str, Setting] | None = None,
        audit: bool = True,
        umask: str = "0660",
        time_zone: str = "UTC",
        tls: Tls = Tls.OFF,
    ) -> None:
        super().__init__(release, settings=settings, tls=tls)
        self._audit = audit
        self._umask = umask
        self._time_zone = time_zone

    @property
    def audit_file(self) -> Path:
        """Where server_audit writes."""
        return self.folder / "log" / "server_audit.log"

    def rotate_audit_file(self) -> None:
        """Makes server_audit begin a new file."""
        self.execute_admin("set global server_audit_file_rotate_now = 1")

    def _installed(self) -> Installation:
        return installation(self.release)

    def _init(self, folder: Path) -> None:
        data = folder / "data"
        (data / "mysql").mkdir(parents=True)
        statements = folder / "bootstrap.sql"
        share = _share(self._installation.base)
        scripts = [path for name in BOOTSTRAP if (path := share / name).exists()]
        statements.write_text(
            "create database if not exists mysql;\nuse mysql;\n"
            "set @auth_root_socket = null;\nset @skip_auth_anonymous = 1;\n"
            + "".join(script.read_text() for script in scripts)
        )
        server_account().own([folder, data, data / "mysql", statements])
        command = [
            *self._installation.command,
            *("--no-defaults", "--bootstrap", f"--datadir={data}", *self._resources()),
            *("--enforce-storage-engine=", "--max-allowed-packet=8M"),
        ]
        done = server_account().run(
            ["sh", "-c", 'exec "$@" < bootstrap.sql', "sh", *command], {"PATH": os.defpath}, folder
        )
        if done.returncode != 0:
            raise ServerFailedError(f"MariaDB {self.release} cannot be initialized:\n{done.stderr[-3000:]}")

    def _resources(self) -> list[str]:
        resources = [f"--basedir={self._installation.base}", *self._installation.places]
        return [*resources, "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=8M"]

    def _command(self) -> list[str | Path]:
        settings: dict[str, Setting] = {
            "datadir": str(self.data_directory),
            "tmpdir": str(self.folder / "tmp"),
            "port": self.port,
            "bind_address": HOST,
            "socket": str(self.socket),
            "pid_file": str(self.folder / "my.pid"),
            "log_error": str(self.folder / "log" / "error.log"),
            "general_log_file": str(self.general_log_file),
            "log_output": "TABLE",
            "character_set_server": "utf8mb4",
            "skip_name_resolve": 1,
            "innodb_flush_log_at_trx_commit": 0,
        }
        if self._audit:
            settings |= {
                "plugin_load_add": "server_audit",
                "server_audit_logging": "ON",
                "server_audit_events": "CONNECT,QUERY,TABLE",
                "server_audit_file_path": str(self.audit_file),
                "server_audit_file_rotate_size": 1_000_000_000,
            }
        if self.tls is not Tls.OFF:
            settings |= self._tls_settings()
        settings |= self._settings
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        return [*self._installation.command, "--no-defaults", *self._resources(), *options]

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "UMASK": self._umask, "TZ": self._time_zone}
