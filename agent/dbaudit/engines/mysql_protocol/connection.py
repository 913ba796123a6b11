"""One connection to a monitored server: every wait bounded, nothing taken from the environment."""

from __future__ import annotations

import contextlib
import ssl
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import pymysql
import pymysql.cursors
from pymysql.constants import CR

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.engine.certificates import client_context
from dbaudit.engine.fields import refuse_nul
from dbaudit.engine.measuring import median_latency_ms
from dbaudit.engines.mysql_protocol.failures import login_failure, number_of, statement_failure
from dbaudit.engines.mysql_protocol.marking import marking_statement
from dbaudit.engines.mysql_protocol.network import Deadline, bounded, endpoint, reached

_PATIENCE_SECONDS = 1.0
"""How long the agent waits beyond the server's own time-outs before it takes the server for dead."""

_UNKNOWN_VARIABLE = 1193
_ROWS_AT_ONCE = 100

Parameters = Sequence[Any] | Mapping[str, Any]
Row = tuple[Any, ...]


_SERVER_IS_PROVEN = frozenset({SslMode.VERIFY_CA, SslMode.VERIFY_FULL})


class ServerConnection:
    """A logged-in session that commits each statement.

    Its statements raise ConfigurationError or TransientError, and return or raise within
    ``target.statement_timeout_seconds`` plus one second even when the server hangs. A connection whose
    statement timed out is closed.
    """

    def __init__(
        self, connection: pymysql.Connection[Any], target: Target, deadline: Deadline, *, tls_in_use: bool
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self.target = target
        self.tls_in_use = tls_in_use
        with _failures_raised(target, deadline):
            self._prepare()
            row = self._fetch("SELECT CONNECTION_ID(), VERSION(), @@version_comment, USER()", None)[0]
        self.connection_id: int = row[0]
        self.version: str = row[1]
        """The version as the server reports it, such as ``8.4.2`` or ``10.11.6-MariaDB-log``."""
        self.version_comment: str = row[2] or ""
        """What it adds to its version, such as ``MySQL Community Server - GPL``."""
        self.client_host: str = str(row[3]).rpartition("@")[2]
        """The agent's host as the server sees it."""

    @property
    def closed(self) -> bool:
        return not self._connection.open

    def rows(self, query: str, parameters: Parameters | None = None) -> list[Row]:
        """The rows of a statement; its parameters are quoted by the driver.

        A percent sign is doubled in a query with parameters, and stands alone in one without. What is not
        known to be valid UTF-8 has to be selected as BINARY.
        """
        self._deadline.extend(self.target.statement_timeout_seconds + _PATIENCE_SECONDS)
        with _failures_raised(self.target, self._deadline, self):
            return self._fetch(query, parameters)

    def values_within(self, query: str, limit_bytes: int) -> tuple[list[bytes | None], bool]:
        """The first column (bytes) of the first rows, about ``limit_bytes`` of them, and whether there are no
        more rows. Not more than that is ever in memory.
        """
        self._deadline.extend(self.target.statement_timeout_seconds + _PATIENCE_SECONDS)
        values: list[bytes | None] = []
        total = 0
        with (
            _failures_raised(self.target, self._deadline, self),
            self._connection.cursor(pymysql.cursors.SSCursor) as cursor,
        ):
            cursor.execute(query)
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                if total >= limit_bytes:
                    return values, False
                for (value,) in rows:
                    values.append(value)
                    total += len(value or b"")
        return values, True

    def row(self, query: str, parameters: Parameters | None = None) -> Row:
        """The only row of a statement that gives exactly one."""
        (row,) = self.rows(query, parameters)
        return row

    def value(self, query: str, parameters: Parameters | None = None) -> Any:
        """The first column of the only row of a statement."""
        return self.row(query, parameters)[0]

    def execute(self, statement: str, parameters: Parameters | None = None) -> None:
        """Run a statement that gives no rows."""
        self.rows(statement, parameters)

    def refusal(self, query: str, parameters: Parameters | None = None) -> tuple[int, str] | None:
        """Try a statement. Returns None if it works, else the number and the message of the server's error.

        Raises TransientError when it was not the server that refused.
        """
        self._deadline.extend(self.target.statement_timeout_seconds + _PATIENCE_SECONDS)
        try:
            self._fetch(query, parameters)
        except _DRIVER_FAILURES as error:
            failure = statement_failure(self.target, error, timed_out=self._deadline.passed)
            refused = isinstance(error, pymysql.MySQLError)
            if not refused:
                self.close()  # its stream may hold the rest of an answer
            if not refused or isinstance(failure, TransientError):
                raise failure from None
            return number_of(error), failure.message
        return None

    def measure_latency_ms(self) -> float:
        """The median of a few round trips, in milliseconds."""
        return median_latency_ms(lambda: self.value("SELECT 1"))

    def close(self) -> None:
        self._deadline.extend(min(1.0, self.target.statement_timeout_seconds))
        with contextlib.suppress(pymysql.MySQLError, OSError):
            self._connection.close()

    def _fetch(self, query: str, parameters: Parameters | None) -> list[Row]:
        with self._connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return list(cursor.fetchall())

    def _prepare(self) -> None:
        # The very first statement: it marks the session in logs as the agent's own.
        self._fetch(marking_statement(self.target.application_name), None)
        self._fetch("SET SESSION time_zone = '+00:00'", None)
        self._bound_statements()

    def _bound_statements(self) -> None:
        """Let the server itself end what lasts too long; the names differ, and old servers have none."""
        seconds = max(1, int(self.target.statement_timeout_seconds))
        wanted = (
            ("max_execution_time", int(self.target.statement_timeout_seconds * 1000)),
            ("max_statement_time", self.target.statement_timeout_seconds),
            ("lock_wait_timeout", seconds),
        )
        for name, value in wanted:
            try:
                self._fetch(f"SET SESSION {name} = %s", [value])
            except pymysql.MySQLError as error:
                if number_of(error) != _UNKNOWN_VARIABLE:
                    raise


def connect(target: Target) -> ServerConnection:
    """Reach the server and log in within ``target.connect_timeout_seconds``.

    Raises ConfigurationError or TransientError; no message holds the password.
    """
    refuse_nul(target, "the server")
    deadline = Deadline(target.connect_timeout_seconds)
    plain_socket, tls_socket = bounded(deadline)
    context = client_context(target)
    if context is not None:
        context.sslsocket_class = tls_socket
    reached_socket = reached(target, deadline, plain_socket)
    connection = _driver(target, context)
    try:
        with _login_failures_raised(target, deadline):
            connection.connect(reached_socket)
        # Check it here too: some versions of the driver continued without TLS.
        tls_in_use = isinstance(getattr(connection, "_sock", None), ssl.SSLSocket)
        if context is not None and not tls_in_use:
            raise ConfigurationError(
                ErrorCode.TLS_FAILED,
                f"{endpoint(target)} offers no TLS, and ssl_mode is {target.ssl_mode.value}.",
                remedy="Give the server a certificate: ssl_cert and ssl_key in its configuration.",
            )
        return ServerConnection(connection, target, deadline, tls_in_use=tls_in_use)
    except BaseException:
        reached_socket.close()
        with contextlib.suppress(pymysql.MySQLError, OSError):
            connection.close()
        raise


class _NeverInClear:
    """Replaces the authentication methods that send a plain password: any server could ask for them."""

    def __init__(self, connection: pymysql.Connection[Any]) -> None:
        pass

    def authenticate(self, packet: object) -> NoReturn:
        raise pymysql.err.OperationalError(
            CR.CR_AUTH_PLUGIN_CANNOT_LOAD, "the server asked for the password in clear"
        )

    def prompt(self, echo: bool, prompt: bytes) -> NoReturn:
        self.authenticate(prompt)


def _driver(target: Target, context: ssl.SSLContext | None) -> pymysql.Connection[Any]:
    proven = target.ssl_mode in _SERVER_IS_PROVEN or target.host.startswith("/")
    plugins: dict[str, Callable[[pymysql.Connection[Any]], Any]] = (
        dict.fromkeys(("mysql_clear_password", "dialog", "mysql_old_password"), _NeverInClear)
        if not proven
        else {}
    )
    connection: pymysql.Connection[Any] = pymysql.Connection(
        host=target.host,
        port=target.port,
        user=target.username,
        password=target.password.reveal().encode(),  # text would be sent as Latin-1
        database=target.database or None,
        charset="utf8mb4",
        autocommit=True,
        local_infile=False,
        program_name=target.application_name,
        ssl=context,
        ssl_disabled=context is None,
        auth_plugin_map=plugins,
        defer_connect=True,
    )
    if target.host.startswith("/"):
        # The server treats its socket as safe, and expects the plain password over it.
        connection._secure = True  # type: ignore[attr-defined]  # not in the stubs
    return connection


@contextlib.contextmanager
def _login_failures_raised(target: Target, deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except _DRIVER_FAILURES as error:
        raise login_failure(target, error, timed_out=deadline.passed) from None


@contextlib.contextmanager
def _failures_raised(
    target: Target, deadline: Deadline, connection: ServerConnection | None = None
) -> Iterator[None]:
    try:
        yield
    except _DRIVER_FAILURES as error:
        timed_out = deadline.passed  # closing has a time of its own
        if connection is not None and not isinstance(error, pymysql.MySQLError):
            connection.close()  # its stream may hold the rest of an answer
        raise statement_failure(target, error, timed_out=timed_out) from None


# What the driver lets through when what it was sent is no packet as it should be.
_DRIVER_FAILURES = (
    pymysql.MySQLError,
    OSError,
    struct.error,
    IndexError,
    KeyError,
    ValueError,
    AssertionError,
    AttributeError,
    TypeError,
    RuntimeError,
)
