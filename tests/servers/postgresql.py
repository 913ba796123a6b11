"""A real PostgreSQL server for a test: started in a fraction of a second, on a free port, gone afterwards."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from tests.servers import processes
from tests.servers.account import server_account
from tests.servers.cache import once
from tests.servers.certificates import CertificateAuthority, Credential
from tests.servers.errors import ServerFailedError
from tests.servers.installations import Installation, installation
from tests.servers.ports import HOST
from tests.servers.processes import wait_for
from tests.servers.running import RunningServer

SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

Setting = str | int | bool


ASK_AGAIN_SECONDS = 3.0


class Tls(Enum):
    """How a server treats TLS; in each case but the first its certificate is for 127.0.0.1 and localhost."""

    OFF = "off"
    OFFERED = "offered"
    REQUIRED = "required"
    CLIENT_CERTIFICATE = "a client certificate with the user's name is asked for instead of a password"


class PostgresServer(RunningServer):
    """One server, with a data folder of its own that is removed at the end.

    Every login over TCP or the socket needs its password (scram-sha-256). The superuser's is random.

    Args:
        major: 11 to 18.
        settings: of postgresql.conf, over the ones that the documentation asks for (csvlog and, from 15 on,
            jsonlog, connections and disconnections logged, log_timezone UTC).
        pgaudit: preloads pgaudit with pgaudit.log=all and creates its extension (13, 15, 17, 18 only).
        tls: whether TLS is off, offered, required or authenticates the client.
        hba: lines of pg_hba.conf that come before the harness's own.
        durable: keeps fsync on, for a test that measures or that stops the machine's view of the disk.
        fresh: runs initdb instead of copying a cached cluster, so that the system identifier is its own.
        installed: other programs to run than those of the major, when they are not the ordinary ones.
    """

    def __init__(
        self,
        major: int = 17,
        *,
        settings: Mapping[str, Setting] | None = None,
        pgaudit: bool = False,
        tls: Tls = Tls.OFF,
        hba: Sequence[str] = (),
        durable: bool = False,
        fresh: bool = False,
        installed: Installation | None = None,
    ) -> None:
        super().__init__(f"PostgreSQL {major}")
        self.major = major
        self.pgaudit = pgaudit
        self.tls = tls
        self.superuser = SUPERUSER
        self.superuser_password = ""
        self.authority = CertificateAuthority()
        self._installation = installed or installation(major, pgaudit=pgaudit)
        self._settings = {**self._documented_settings(durable), **(settings or {})}
        self._hba = tuple(hba)
        self._fresh = fresh

    @property
    def data_directory(self) -> Path:
        return self.folder / "data"

    @property
    def socket_directory(self) -> Path:
        return self.folder

    @property
    def log_directory(self) -> Path:
        return self.data_directory / str(self._settings["log_directory"])

    @property
    def ca_certificate(self) -> str:
        """What a client trusts to verify this server, in PEM."""
        return self.authority.certificate

    # -- starting and stopping

    def stop(self, mode: str = "fast", timeout_seconds: float = 30.0) -> None:
        """Stops the server: smart waits for its clients, fast ends them, immediate is a crash of its own."""
        if self._process is None:
            return
        family = processes.children(self._process.pid)
        self._process.send_signal(STOP_SIGNALS[mode])
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise ServerFailedError(f"the server did not stop ({mode}) within {timeout_seconds} s") from None
        processes.wait_until_gone(family)
        self._process = None

    def kill(self, *, spare_logger: bool = False) -> None:
        """Ends the postmaster and every process of the server at once, by SIGKILL.

        With spare_logger the process that writes the log files is left to write what it has been sent, then
        ends by itself: no record of the log is lost in its pipe.
        """
        if self._process is None:
            return
        spared = set(self._loggers()) if spare_logger else set()
        family = processes.kill_tree(self._process.pid, spared)
        self._process.wait()
        processes.wait_until_gone(family)
        self._process = None

    def _loggers(self) -> list[int]:
        return [child for child in processes.children(self.process_id) if "logger" in processes.title(child)]

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def reload(self) -> None:
        """Makes the server read its configuration again; new sessions have it when this returns."""
        query = "select pg_conf_load_time()"
        before = self.execute_admin(query)
        os.kill(self.process_id, signal.SIGHUP)
        wait_for(lambda: self.execute_admin(query) != before, "reading the configuration again")

    # -- configuration

    def configure(self, **settings: Setting) -> None:
        """Writes settings, which hold after reload() or restart(); pgaudit__log stands for pgaudit.log."""
        self._settings |= {name.replace("__", "."): value for name, value in settings.items()}
        self._write_settings()

    def set_hba(self, *lines: str) -> None:
        """Puts other lines before the harness's own in pg_hba.conf; they hold after reload()."""
        self._hba = lines
        self._write_hba()

    def _documented_settings(self, durable: bool) -> dict[str, Setting]:
        settings: dict[str, Setting] = {
            "logging_collector": True,
            "log_destination": "csvlog,jsonlog" if self.major >= 15 else "csvlog",
            "log_directory": "log",
            "log_filename": "postgresql-%Y%m%d-%H%M%S.log",
            "log_file_mode": "0640",
            "log_connections": True,
            "log_disconnections": True,
            "log_timezone": "UTC",
            "max_connections": 100,
        }
        if self.pgaudit:
            settings |= {
                "shared_preload_libraries": "pgaudit",
                "pgaudit.log": "all",
                "pgaudit.log_catalog": False,
            }
        if not durable:
            settings |= {"fsync": False, "synchronous_commit": False, "full_page_writes": False}
        return settings

    def _create(self) -> None:
        self.folder.joinpath("home").mkdir()
        server_account().own([self.folder, self.folder / "home"])
        template = self.folder / "template" if self._fresh else self._cached_template()
        if self._fresh:
            self._init(template)
        shutil.copyfile(template / "password", password := self.folder / "password")
        password.chmod(0o600)
        self.superuser_password = password.read_text()
        subprocess.run(["cp", "-a", template / "data", self.data_directory], check=True)
        if self.tls is not Tls.OFF:
            credential = self.authority.server(HOST, "localhost")
            self._write_private("server.crt", credential.certificate)
            self._write_private("server.key", credential.key)
            self._write_private("ca.crt", self.authority.certificate)
        with (self.data_directory / "postgresql.conf").open("a") as configuration:
            configuration.write("include 'harness.conf'\n")
        self._write_hba()

    def _cached_template(self) -> Path:
        """A cluster that initdb made for this release and this account, to be copied."""
        release = self._installation.name.removesuffix("-pgaudit")
        return once(f"template-{release}-{server_account().name}", self._init)

    def _init(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        password = folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        server_account().own([folder, password])
        place: list[str | Path] = [self._installation.programs / "initdb", "-D", folder / "data"]
        login: list[str | Path] = ["--username", SUPERUSER, "--pwfile", password, "--auth=scram-sha-256"]
        layout = ["--encoding=UTF8", "--locale=C.UTF-8", "--allow-group-access", "--nosync"]
        done = server_account().run([*place, *login, *layout], self._environment(), folder)
        if done.returncode != 0:
            raise ServerFailedError(f"initdb of PostgreSQL {self.major} failed:\n{done.stdout}{done.stderr}")

    def _environment(self) -> dict[str, str]:
        home = str(self.folder / "home")
        return {
            "PATH": os.defpath,
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **self._installation.environment,
        }

    def _about_to_start(self) -> None:
        self._write_settings()

    def _command(self) -> list[str | Path]:
        return [self._installation.programs / "postgres", "-D", self.data_directory]

    def _is_ready(self) -> bool:
        return _says_ready(self.data_directory / "postmaster.pid", self.process_id)

    def _prepare(self) -> None:
        if self.pgaudit:
            for database in ("template1", "postgres"):
                self.execute_admin("create extension pgaudit", database=database)

    def _write_settings(self) -> None:
        always: dict[str, Setting] = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": str(self.socket_directory),
        }
        if self.tls is not Tls.OFF:
            always |= {
                "ssl": True,
                "ssl_cert_file": "server.crt",
                "ssl_key_file": "server.key",
                "ssl_ca_file": "ca.crt",
            }
        lines = [f"{name} = {_quoted(value)}\n" for name, value in (always | self._settings).items()]
        self._write_private("harness.conf", "".join(lines))

    def _write_hba(self) -> None:
        over_tcp = {
            Tls.OFF: "host all all 127.0.0.1/32 scram-sha-256",
            Tls.OFFERED: "host all all 127.0.0.1/32 scram-sha-256",
            Tls.REQUIRED: "hostssl all all 127.0.0.1/32 scram-sha-256",
            Tls.CLIENT_CERTIFICATE: "hostssl all all 127.0.0.1/32 cert",
        }
        lines = [*self._hba, "local all all scram-sha-256", over_tcp[self.tls]]
        self._write_private("pg_hba.conf", "".join(f"{line}\n" for line in lines))

    def _write_private(self, name: str, text: str) -> None:
        """Replaces a file of the data folder in one step; the server's account alone may read it."""
        unfinished = self.data_directory / f"{name}.new"
        unfinished.touch(mode=0o600)
        unfinished.write_text(text)
        server_account().own([unfinished])
        unfinished.rename(self.data_directory / name)

    def _last_words(self) -> str:
        written = [self.folder / "startup.log"]
        if self.log_directory.is_dir():
            written += sorted(self.log_directory.iterdir())[-2:]
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in written if path.exists())

    # -- connecting

    def conninfo(self, user: str, password: str, database: str = "postgres", **options: str) -> str:
        """A connection string of libpq for a user of this server; it holds the password."""
        place = {"host": self.host, "port": str(self.port), "dbname": database}
        return make_conninfo("", user=user, password=password, **(place | options))

    def client_certificate(self, user: str) -> Credential:
        """A certificate that Tls.CLIENT_CERTIFICATE takes for a user."""
        return self.authority.client(user)

    def connect_admin(self, database: str = "postgres", **options: str) -> psycopg.Connection[Any]:
        """A superuser's connection that commits each statement."""
        if self.tls is Tls.CLIENT_CERTIFICATE:
            options = {**self._admin_certificate(), **options}
        conninfo = self.conninfo(SUPERUSER, self.superuser_password, database, **options)
        return psycopg.connect(conninfo, autocommit=True)

    def execute_admin(
        self,
        statement: LiteralString | sql.SQL | sql.Composed,
        parameters: Sequence[object] | None = None,
        *,
        database: str = "postgres",
    ) -> list[tuple[Any, ...]]:
        """Runs one statement as superuser and returns its rows, none for a statement without any."""
        with self.connect_admin(database) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def _admin_certificate(self) -> dict[str, str]:
        files = {"sslcert": self.folder / "admin.crt", "sslkey": self.folder / "admin.key"}
        if not files["sslkey"].exists():
            credential = self.client_certificate(SUPERUSER)
            files["sslcert"].write_text(credential.certificate)
            files["sslkey"].touch(mode=0o600)
            files["sslkey"].write_text(credential.key)
        return {name: str(path) for name, path in files.items()}

    # -- logs

    def current_log(self, destination: str = "csvlog") -> Path:
        """The file that the server writes now for csvlog, jsonlog or stderr."""
        for line in (self.data_directory / "current_logfiles").read_text().splitlines():
            kind, path = line.split(" ", 1)
            if kind == destination:
                return self.data_directory / path
        raise ServerFailedError(f"the server writes no {destination}")

    def log_files(self, suffix: str = ".csv") -> list[Path]:
        """The log files of a kind (.csv, .json, .log), oldest first."""
        return sorted(path for path in self.log_directory.iterdir() if path.suffix == suffix)

    def rotate_log(self) -> None:
        """Makes the server go on in new log files; their names differ as log_filename has them differ.

        No session is opened for it, so it leaves nothing in the log.
        """
        current = self.data_directory / "current_logfiles"
        before = current.read_text()
        created = current.stat().st_mtime
        # A name made of the time in seconds is a new one only in the next second.
        wait_for(lambda: int(time.time()) > int(created), "the next second")
        asked = 0.0

        def rotated() -> bool:
            # A logger that has just been started has no title yet, and does not listen yet.
            nonlocal asked
            if _read_if_there(current) not in (before, ""):
                return True
            if time.monotonic() - asked > ASK_AGAIN_SECONDS:
                asked = time.monotonic()
                for logger in self._loggers():
                    os.kill(logger, signal.SIGUSR1)
            return False

        wait_for(rotated, "the rotation of the log")

    # -- roles

    def create_database(self, name: str) -> None:
        self.execute_admin(sql.SQL("create database {}").format(sql.Identifier(name)))

    def create_role(self, name: str, password: str) -> None:
        """An ordinary user."""
        statement = sql.SQL("create role {} login password {}")
        self.execute_admin(statement.format(sql.Identifier(name), sql.Literal(password)))

    def create_collector_role(self, name: str, password: str, database: str = "postgres") -> None:
        """A user with just the rights that the documentation asks for to collect through a database."""
        role = sql.Identifier(name)
        self.create_role(name, password)
        with self.connect_admin(database) as connection:
            for statement in _collector_statements(self.pgaudit):
                connection.execute(sql.SQL(statement).format(role=role))


def _collector_statements(pgaudit: bool) -> Iterator[LiteralString]:
    yield "grant pg_monitor to {role}"
    yield "grant execute on function pg_current_logfile(), pg_current_logfile(text) to {role}"
    yield "grant execute on function pg_read_binary_file(text, bigint, bigint, boolean) to {role}"
    yield "grant execute on function pg_stat_file(text, boolean) to {role}"
    yield "grant select on pg_file_settings to {role}"
    yield "grant execute on function pg_show_all_file_settings() to {role}"
    yield "alter role {role} set log_statement = 'none'"
    if pgaudit:
        yield "alter role {role} set pgaudit.log = 'none'"


def _quoted(value: Setting) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = str(value).replace("\\", "\\\\").replace("'", "''")
    return f"'{text}'"


def _says_ready(pid_file: Path, process_id: int) -> bool:
    lines = _read_if_there(pid_file).splitlines()
    return len(lines) >= 8 and lines[0].strip() == str(process_id) and lines[7].strip() == "ready"


def _read_if_there(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""
