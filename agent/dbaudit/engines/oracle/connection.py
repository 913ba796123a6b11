"""One connection to a monitored server: every wait bounded, nothing taken from the environment."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import oracledb

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, FieldError
from dbaudit.engine.certificates import client_context
from dbaudit.engines.oracle.failures import (
    asks_for_password,
    login_failure,
    silence,
    statement_failure,
    statement_timeout,
    wrong_protocol,
)
from dbaudit.engines.oracle.loop import OwnLoop
from dbaudit.engines.oracle.network import PROBE_SECONDS, what_answers
from dbaudit.engines.oracle.session_keys import ShortSessionKeyError, refuse_short_session_keys

_ROWS_A_ROUND_TRIP = 1000
_PATIENCE_SECONDS = 1.0
"""How long the agent waits beyond the driver's own time-out before it takes the server for dead."""
_PROBE_SHARE = 0.25
"""At most this share of the time for connecting goes to finding out what else it is that listens."""
_PERHAPS_ANOTHER_PROTOCOL = frozenset(
    {ErrorCode.CONNECTION_TIMEOUT, ErrorCode.CONNECTION_LOST, ErrorCode.WRONG_PROTOCOL, ErrorCode.TLS_FAILED}
)


class ServerConnection:
    """A logged-in session.

    Its statements raise ConfigurationError or TransientError, and return or raise within
    ``target.statement_timeout_seconds`` plus two seconds even when the server hangs. A connection whose
    statement timed out is closed. ``connection`` is an ``oracledb.AsyncConnection`` whose coroutines run in
    ``loop``.
    """

    def __init__(self, connection: Any, loop: OwnLoop, target: Target) -> None:
        self._connection = connection
        self._loop = loop
        self.target = target
        self.version: str = connection.version

    def rows(self, query: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """The rows of a statement."""
        with self.query(query, parameters) as result:
            rows: list[tuple[Any, ...]] = []
            while some := result.fetch():
                rows += some
            return rows

    def value(self, query: str, parameters: Mapping[str, Any] | None = None) -> Any:
        """The first column of the only row of a statement."""
        ((value, *_others),) = self.rows(query, parameters)
        return value

    def columns(self, query: str) -> list[str]:
        """The names of the columns that a query has."""
        with self.query(query) as result:
            return result.columns

    def query(self, query: str, parameters: Mapping[str, Any] | None = None) -> Result:
        """Run a query; its rows are fetched through what is returned, which has to be closed."""
        cursor = self._connection.cursor()
        result = Result(self, cursor)
        try:
            self.run(result.execute(query, parameters or {}))
        except BaseException:
            result.close()
            raise
        return result

    def run(self, work: Any) -> Any:
        """Wait for a coroutine of the driver, as long as a statement may take."""
        seconds = self.target.statement_timeout_seconds
        if self._loop.is_closed():
            work.close()
            raise statement_failure(self.target, oracledb.InterfaceError("DPY-1001: not connected"))
        try:
            return self._loop.run_within(seconds + _PATIENCE_SECONDS, work)
        except TimeoutError:
            self._loop.abort()
            raise statement_timeout(self.target) from None
        except oracledb.Error as error:
            failure = statement_failure(self.target, error)
        except OSError as error:
            failure = login_failure(self.target, error)
        raise failure from None

    def close(self) -> None:
        """Log out where the server still listens; may be called twice."""
        if not self._loop.is_closed():
            with contextlib.suppress(oracledb.Error, OSError, TimeoutError):
                self._loop.run_within(_PATIENCE_SECONDS, self._connection.close())
        self._loop.abort()


class Result:
    """The rows of one query; also a context manager."""

    def __init__(self, connection: ServerConnection, cursor: Any) -> None:
        self._connection = connection
        self._cursor = cursor
        cursor.arraysize = _ROWS_A_ROUND_TRIP
        cursor.prefetchrows = _ROWS_A_ROUND_TRIP

    async def execute(self, query: str, parameters: Mapping[str, Any]) -> None:
        times = {
            name: oracledb.DB_TYPE_TIMESTAMP
            for name, value in parameters.items()
            if hasattr(value, "microsecond")
        }
        if times:
            self._cursor.setinputsizes(**times)
        await self._cursor.execute(query, dict(parameters), fetch_lobs=False)

    @property
    def columns(self) -> list[str]:
        return [column[0] for column in self._cursor.description]

    def fetch(self) -> Sequence[tuple[Any, ...]]:
        """The next rows, as many as come at once; none at the end."""
        rows: Sequence[tuple[Any, ...]] = self._connection.run(self._cursor.fetchmany(_ROWS_A_ROUND_TRIP))
        return rows

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        while rows := self.fetch():
            yield from rows

    def close(self) -> None:
        with contextlib.suppress(oracledb.Error):
            self._cursor.close()

    def __enter__(self) -> Result:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()


def connect(target: Target) -> ServerConnection:
    """Reach the server and log in within ``target.connect_timeout_seconds``.

    Raises ConfigurationError or TransientError; no message holds the password.
    """
    _refuse_what_cannot_be_sent(target)
    refuse_short_session_keys()
    probe_seconds = min(PROBE_SECONDS, _PROBE_SHARE * target.connect_timeout_seconds)
    parameters = _parameters(target)
    started = time.monotonic()
    loop = OwnLoop()
    failure: DbauditError
    try:
        within = target.connect_timeout_seconds - probe_seconds
        return ServerConnection(loop.run_within(within, _log_in(target, parameters)), loop, target)
    except TimeoutError:
        failure = silence(target)
    except ShortSessionKeyError:
        failure = asks_for_password(target)
    except (oracledb.Error, OSError, UnicodeError) as error:
        failure = login_failure(target, error)
    except BaseException:
        loop.abort()
        raise
    loop.abort()
    if failure.code in _PERHAPS_ANOTHER_PROTOCOL:
        left = max(probe_seconds, target.connect_timeout_seconds - (time.monotonic() - started))
        speaker = what_answers(target.host, target.port, min(PROBE_SECONDS, left))
        if speaker is not None and not (speaker.endswith("TLS") and target.ssl_mode is not SslMode.DISABLE):
            failure = wrong_protocol(target, speaker)
    raise failure from None


async def _log_in(target: Target, parameters: dict[str, Any]) -> Any:
    connection = await oracledb.connect_async(**parameters)
    connection.call_timeout = max(1, int(target.statement_timeout_seconds * 1000))
    try:
        # Where a view has local times only, they are compared in the time zone of the session.
        with connection.cursor() as cursor:
            await cursor.execute("ALTER SESSION SET TIME_ZONE = '+00:00'")
    except BaseException:
        with contextlib.suppress(oracledb.Error, OSError):
            await connection.close()
        raise
    return connection


def _parameters(target: Target) -> dict[str, Any]:
    context = client_context(target)
    seconds = target.connect_timeout_seconds
    return {
        "user": target.username,
        "password": target.password.reveal(),
        "host": target.host,
        "port": target.port,
        "service_name": target.database,
        "protocol": "tcp" if context is None else "tcps",
        "ssl_context": context,
        "ssl_server_dn_match": target.ssl_mode is SslMode.VERIFY_FULL,
        "tcp_connect_timeout": seconds,
        "retry_count": 0,
        "expire_time": 1,
        "disable_oob": True,
        "stmtcachesize": 0,
        "config_dir": "",
        "program": target.application_name,
    }


def _refuse_what_cannot_be_sent(target: Target) -> None:
    # These would end a value of the connect descriptor, and begin another one.
    for field, value in (("host", target.host), ("database", target.database)):
        bad = next((c for c in value if c in "()=\"'\\\0" or not c.isprintable()), None)
        if bad is not None or not value.strip():
            raise ConfigurationError(
                ErrorCode.VALIDATION_FAILED,
                f"{field} {'is empty' if bad is None else f'holds the character {bad!r}'}.",
                details=[FieldError(f"/{field}", "must be a name without brackets, quotes and the sign =")],
            )
