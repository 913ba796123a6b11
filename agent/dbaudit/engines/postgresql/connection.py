"""One connection to a monitored server: every wait bounded, nothing taken from the environment."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, FieldError, TransientError
from dbaudit.engines.postgresql.failures import endpoint, login_failure, statement_failure
from dbaudit.engines.postgresql.tls import NOWHERE, tls_parameters

OLDEST_VERSION = 110000

_RV = TypeVar("_RV")
_WAKE_UP_SECONDS = 0.1
_GREETING_SECONDS = 0.5
_PATIENCE_SECONDS = 1.0
"""How long the agent waits beyond the server's own statement_timeout before it takes the server for dead."""

# Every parameter for which libpq would look into the environment, a service file or the home directory.
_NOT_FROM_ENVIRONMENT = {
    "channel_binding": "prefer",
    "client_encoding": "UTF8",
    "gssdelegation": "0",
    "gssencmode": "disable",
    "krbsrvname": "postgres",
    "load_balance_hosts": "disable",
    "max_protocol_version": "3.0",
    "min_protocol_version": "3.0",
    "passfile": NOWHERE,
    "require_auth": "none,password,md5,scram-sha-256,gss,sspi",
    "requirepeer": "",
    "ssl_max_protocol_version": "",
    "ssl_min_protocol_version": "TLSv1.2",
    "sslcompression": "0",
    "sslcrldir": "",
    "sslnegotiation": "postgres",
    "sslsni": "1",
    "target_session_attrs": "any",
}


class ServerConnection:
    """A logged-in, read-only session that commits each statement.

    Its statements raise ConfigurationError or TransientError, and return or raise within
    ``target.statement_timeout_seconds`` plus two seconds even when the server hangs; a connection that had to
    be given up is closed.
    """

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], target: Target) -> None:
        self._connection = connection
        self.target = target

    @property
    def version_number(self) -> int:
        """The server's version as a number: 170004 for 17.4."""
        return self._connection.info.server_version

    @property
    def tls_in_use(self) -> bool:
        return self._connection.pgconn.ssl_in_use

    @property
    def backend_process_id(self) -> int:
        return self._connection.info.backend_pid

    @property
    def closed(self) -> bool:
        return self._connection.closed

    def rows(
        self, query: LiteralString, parameters: Sequence[Any] | None = None, *, binary: bool = False
    ) -> list[tuple[Any, ...]]:
        """The rows of a statement. ``binary`` fetches in binary form: what a large bytea wants."""
        try:
            with self._connection.cursor(binary=binary) as cursor:
                return cursor.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            raise statement_failure(self.target, error) from None

    def row(
        self, query: LiteralString, parameters: Sequence[Any] | None = None, *, binary: bool = False
    ) -> tuple[Any, ...]:
        """The only row of a statement that gives exactly one."""
        (row,) = self.rows(query, parameters, binary=binary)
        return row

    def value(
        self, query: LiteralString, parameters: Sequence[Any] | None = None, *, binary: bool = False
    ) -> Any:
        """The first column of the only row of a statement."""
        return self.row(query, parameters, binary=binary)[0]

    def close(self) -> None:
        with contextlib.suppress(psycopg.Error, OSError):
            self._connection.close()


def connect(target: Target) -> ServerConnection:
    """Reach the server and log in within ``target.connect_timeout_seconds``.

    Raises ConfigurationError or TransientError; no message holds the password.
    """
    deadline = time.monotonic() + target.connect_timeout_seconds
    _refuse_nul(target)
    addresses = _addresses(target, deadline)
    with tls_parameters(target) as tls:
        for number, address in enumerate(addresses):
            remaining = deadline - time.monotonic()
            try:
                pgconn = _log_in(
                    target, tls, address, time.monotonic() + remaining / (len(addresses) - number)
                )
            except TransientError:
                # Another address of the same host may answer.
                if number == len(addresses) - 1:
                    raise
            else:
                break
    return ServerConnection(_usable(pgconn, target), target)


class _BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """Gives up, and closes, when a statement lasts longer than the server's own time-out can explain."""

    target: Target

    def wait(self, gen: PQGen[_RV], interval: float = _WAKE_UP_SECONDS, timeout: float | None = None) -> _RV:
        return super().wait(self._bounded(gen), min(interval, _WAKE_UP_SECONDS) or _WAKE_UP_SECONDS)

    def _bounded(self, gen: PQGen[_RV]) -> PQGen[_RV]:
        deadline = time.monotonic() + self.target.statement_timeout_seconds + _PATIENCE_SECONDS
        try:
            state = next(gen)
            while True:
                ready = yield state
                if time.monotonic() > deadline:
                    self.pgconn.finish()
                    raise TransientError(
                        ErrorCode.STATEMENT_TIMEOUT,
                        f"{endpoint(self.target)} did not answer a statement within "
                        f"{self.target.statement_timeout_seconds:g} seconds; the connection was given up.",
                    )
                state = gen.send(ready)
        except StopIteration as stop:
            result: _RV = stop.value
            return result


def _usable(pgconn: PGconn, target: Target) -> _BoundedConnection:
    pgconn.nonblocking = 1
    version = pgconn.parameter_status(b"server_version")
    if version is None or pgconn.server_version < OLDEST_VERSION:
        found = f"version {version.decode(errors='replace')}" if version else "a server without a version"
        pgconn.finish()
        raise ConfigurationError(
            ErrorCode.SERVER_NOT_SUPPORTED,
            f"{endpoint(target)} is {found}; PostgreSQL 11 or later is needed.",
        )
    connection = _BoundedConnection(pgconn)
    connection.target = target
    connection.autocommit = True
    connection.prepare_threshold = None
    return connection


def _log_in(target: Target, tls: dict[str, str], address: str | None, deadline: float) -> PGconn:
    pgconn = pq.PGconn.connect_start(_conninfo(target, tls, address).encode())
    try:
        while True:
            status = pgconn.connect_poll() if pgconn.status != pq.ConnStatus.BAD else pq.PollingStatus.FAILED
            if status == pq.PollingStatus.OK:
                return pgconn
            if status == pq.PollingStatus.FAILED:
                raise login_failure(target, pgconn.get_error_message())
            waiting = select.poll()
            waiting.register(
                pgconn.socket, select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT
            )
            if (
                not waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
                and time.monotonic() >= deadline
            ):
                raise _silence(target, reached=pgconn.status != pq.ConnStatus.STARTED)
    except DbauditError as error:
        pgconn.finish()
        if error.code in _PERHAPS_ANOTHER_PROTOCOL and (speaker := _speaker(target, address)):
            raise ConfigurationError(
                ErrorCode.WRONG_PROTOCOL,
                f"What listens on {endpoint(target)} is {speaker}, not PostgreSQL.",
                remedy="Check host and port.",
            ) from None
        raise
    except BaseException:
        pgconn.finish()
        raise


def _conninfo(target: Target, tls: dict[str, str], address: str | None) -> str:
    statement_ms = max(1, int(target.statement_timeout_seconds * 1000))
    parameters = {
        **_NOT_FROM_ENVIRONMENT,
        **tls,
        "host": target.host,
        "hostaddr": address or "",
        "port": str(target.port),
        "dbname": target.database,
        "user": target.username,
        "password": target.password.reveal(),
        "application_name": target.application_name,
        "keepalives": "1",
        "keepalives_idle": "30",
        "keepalives_interval": "10",
        "keepalives_count": "3",
        "tcp_user_timeout": str(statement_ms + int(_PATIENCE_SECONDS * 1000)),
        "options": (
            f"-c statement_timeout={statement_ms} -c lock_timeout={statement_ms} "
            "-c default_transaction_read_only=on -c search_path=pg_catalog -c timezone=UTC -c datestyle=ISO"
        ),
    }
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    return make_conninfo("", **{name: value for name, value in parameters.items() if name in known})


def _refuse_nul(target: Target) -> None:
    fields = {"host": target.host, "database": target.database, "username": target.username}
    for field, value in {**fields, "password": target.password.reveal()}.items():
        if "\0" in value:
            raise ConfigurationError(
                ErrorCode.VALIDATION_FAILED,
                f"{field} holds the character NUL, which PostgreSQL cannot be sent.",
                details=[FieldError(f"/{field}", "must not hold the character NUL")],
            )


def _addresses(target: Target, deadline: float) -> list[str | None]:
    """The addresses of the host in the resolver's order; None for a socket in the file system."""
    if target.host.startswith("/"):
        return [None]
    with contextlib.suppress(ValueError):
        return [str(ipaddress.ip_address(target.host))]
    # A resolver that does not answer cannot be interrupted: it is left to its own thread.
    answer: queue.SimpleQueue[list[str | None] | OSError | UnicodeError] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
            answer.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        addresses = answer.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TransientError(
            ErrorCode.CONNECTION_TIMEOUT, f"The name server did not answer for {target.host!r} in time."
        ) from None
    if isinstance(addresses, list):
        return addresses
    if isinstance(addresses, socket.gaierror) and addresses.errno == socket.EAI_AGAIN:
        raise TransientError(
            ErrorCode.HOST_NOT_FOUND, f"The name server could not say where {target.host!r} is just now."
        )
    raise ConfigurationError(
        ErrorCode.HOST_NOT_FOUND,
        f"There is no host {target.host!r}.",
        remedy="Check the field host, and the DNS.",
    )


_PERHAPS_ANOTHER_PROTOCOL = frozenset(
    {ErrorCode.CONNECTION_TIMEOUT, ErrorCode.TLS_FAILED, ErrorCode.CONNECTION_LOST, ErrorCode.WRONG_PROTOCOL}
)


def _silence(target: Target, *, reached: bool) -> TransientError:
    if not reached:
        return TransientError(
            ErrorCode.CONNECTION_TIMEOUT,
            f"{endpoint(target)} did not answer within {target.connect_timeout_seconds:g} seconds.",
            remedy="Check host, port, routes and firewalls.",
        )
    return TransientError(
        ErrorCode.CONNECTION_TIMEOUT,
        f"{endpoint(target)} took the connection and then did not answer within "
        f"{target.connect_timeout_seconds:g} seconds.",
        remedy="Check that the port is that of PostgreSQL and that the server is not overloaded.",
    )


def _speaker(target: Target, address: str | None) -> str | None:
    """What it is that listens, when it speaks first: PostgreSQL waits for its client."""
    if address is None:
        return None
    try:
        with socket.create_connection((address, target.port), _GREETING_SECONDS) as probe:
            greeting = probe.recv(128)
    except OSError:
        return None
    if not greeting:
        return None
    if greeting.startswith(b"SSH-"):
        return "an SSH server"
    if len(greeting) > 5 and greeting[3] == 0 and greeting[4] in (0x0A, 0xFF):
        return "a MySQL or MariaDB server"
    if greeting.startswith((b"220", b"+OK", b"* OK")):
        return "a mail or file server"
    return "a server that speaks first"
