"""One connection to a monitored server: every wait bounded, nothing taken from the environment."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import pq
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq.abc import PGconn

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engine.fields import refuse_nul
from dbaudit.engine.network import addresses_of, wrong_protocol
from dbaudit.engines.postgresql.failures import endpoint, login_failure, statement_failure
from dbaudit.engines.postgresql.network import GREETING_SECONDS, first_speaker
from dbaudit.engines.postgresql.tls import NOWHERE, tls_parameters

OLDEST_VERSION = 110000

_RV = TypeVar("_RV")
_SAFE_METHODS = "none,scram-sha-256,gss,sspi"
_ALL_METHODS = f"password,md5,{_SAFE_METHODS}"
_SERVER_IS_PROVEN = frozenset({SslMode.VERIFY_CA, SslMode.VERIFY_FULL})
_WAKE_UP_SECONDS = 0.1
_GREETING_SHARE = 0.25
"""At most this share of the time for connecting goes to finding out what else it is that listens."""
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
    ``target.statement_timeout_seconds`` plus two seconds even when the server hangs; a connection that did
    not answer in time is closed.
    """

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], target: Target) -> None:
        self._connection = connection
        self.target = target
        self.backend_process_id = connection.info.backend_pid

    @property
    def version_number(self) -> int:
        """The server's version as a number: 170004 for 17.4."""
        return self._connection.info.server_version

    @property
    def tls_in_use(self) -> bool:
        return self._connection.pgconn.ssl_in_use

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
    greeting_seconds = min(GREETING_SECONDS, _GREETING_SHARE * target.connect_timeout_seconds)
    deadline = time.monotonic() + target.connect_timeout_seconds - greeting_seconds
    refuse_nul(target, "PostgreSQL")
    addresses = _addresses_of(target, deadline)
    with tls_parameters(target) as tls:
        for untried, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            now = time.monotonic()
            try:
                pgconn = _log_in(target, _conninfo(target, tls, address), now + (deadline - now) / untried)
                break
            except DbauditError as error:
                # Another address of the same host may answer.
                if isinstance(error, TransientError) and untried > 1:
                    continue
                if error.code not in _PERHAPS_ANOTHER_PROTOCOL or address is None:
                    raise
                speaker = first_speaker(address, target.port, greeting_seconds)
                if speaker is None:
                    raise
                raise wrong_protocol(endpoint(target), speaker, "PostgreSQL") from None
    return ServerConnection(_usable(pgconn, target), target)


def _addresses_of(target: Target, deadline: float) -> list[str | None]:
    """Those of the host in the resolver's order; None for a socket in the file system."""
    if target.host.startswith("/"):
        return [None]
    return [str(address[0]) for _family, address in addresses_of(target.host, target.port, deadline)]


_PERHAPS_ANOTHER_PROTOCOL = frozenset(
    {ErrorCode.CONNECTION_TIMEOUT, ErrorCode.TLS_FAILED, ErrorCode.CONNECTION_LOST, ErrorCode.WRONG_PROTOCOL}
)


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
                        f"{self.target.statement_timeout_seconds:g} seconds; the connection was closed.",
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


def _log_in(target: Target, conninfo: str, deadline: float) -> PGconn:
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    try:
        while True:
            status = pgconn.connect_poll() if pgconn.status != pq.ConnStatus.BAD else pq.PollingStatus.FAILED
            if status == pq.PollingStatus.OK:
                return pgconn
            if status == pq.PollingStatus.FAILED:
                words = pgconn.get_error_message()
                raise login_failure(target, words, password_used=bool(pgconn.used_password))
            waiting = select.poll()
            reading = status == pq.PollingStatus.READING
            waiting.register(pgconn.socket, select.POLLIN if reading else select.POLLOUT)
            waiting.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if time.monotonic() >= deadline:
                raise _silence(target, reached=pgconn.status != pq.ConnStatus.STARTED)
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
        "require_auth": _methods(target),
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


def _methods(target: Target) -> str:
    """The ways of logging in that the server may ask for: none that gives the password to another server."""
    asked: str | None = target.options.get("require_auth")
    if asked is not None:
        return asked
    proven = target.ssl_mode in _SERVER_IS_PROVEN or target.host.startswith("/")
    return _ALL_METHODS if proven else _SAFE_METHODS


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
