"""A recorded server at the driver's border: rows as UNIFIED_AUDIT_TRAIL gives them, and the views beside it.

There is no Oracle server to be had here. What stands for it answers the engine's own queries, and refuses a
column or a view that the version does not have or that was not granted, as the server does.
"""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import oracledb
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret
from dbaudit.engine.base import Session
from dbaudit.engines.oracle import OracleEngine, reading, rights, settings, trail, trails
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.health import PING
from dbaudit.engines.oracle.loop import OwnLoop
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.session import OracleSession

from tests.engines.oracle import columns
from tests.engines.oracle.traditional_tables import FINE, STANDARD, TraditionalTables

PASSWORD = "t1ger'\" \\x"
BEGIN = datetime.datetime(2025, 2, 3, 10, 15, 9, 4512)  # noqa: DTZ001  # the driver's times bear no zone
ADDRESS = "(TYPE=({method}));(CLIENT ADDRESS=((PROTOCOL=tcp)(HOST=10.0.0.9)(PORT=40112)));"
TRAIL, ENABLED, RULES, ARCHIVED = (
    "unified_audit_trail",
    "audit_unified_enabled_policies",
    "audit_unified_policies",
    "dba_audit_mgmt_last_arch_ts",
)

COLUMNS_OF = columns.UNIFIED
_WORDS = frozenset(
    {
        *("SELECT", "FROM", "WHERE", "AND", "OR", "IS", "NULL", "AS", "ORDER", "GROUP", "BY", "FETCH"),
        *("FIRST", "ROWS", "ONLY", "CASE", "WHEN", "THEN", "ELSE", "END", "SUM", "CAST", "TIMESTAMP"),
        *("TO_CHAR", "SYS_CONTEXT", "SYS_EXTRACT_UTC", "FROM_TZ", TRAIL.upper()),
    }
)
"""The words of the engine's queries on the unified trail that name no column."""
PRODUCTS = {
    "12.1.0.2.0": "Oracle Database 12c Enterprise Edition ",
    "12.2.0.1.0": "Oracle Database 12c Enterprise Edition ",
    "19.21.0.0.0": "Oracle Database 19c Standard Edition 2",
    "21.3.0.0.0": "Oracle Database 21c Express Edition ",
    "23.4.0.24.5": "Oracle Database 23ai Free",
}


@lru_cache(maxsize=32)
def _names_in(query: str) -> frozenset[str]:
    """The columns that a query names, as the server reads them."""
    bare = re.sub(r"'[^']*'|:\w+|\bNULL AS \"\w+\"", "", query)
    return frozenset(word.upper() for word in re.findall(r"[A-Za-z_]\w*", bare)) - _WORDS


def database_error(words: str) -> oracledb.DatabaseError:
    return oracledb.DatabaseError(words)


class RecordedServer:
    """The state of the server, which tests change as an administrator or time would."""

    def __init__(self, version: str = "19.21.0.0.0") -> None:
        self.version = version
        self.product = PRODUCTS[version]
        self.columns = COLUMNS_OF[version]
        self.rows: list[dict[str, Any]] = []
        self.now = BEGIN
        self.granted = {TRAIL, ENABLED, RULES, ARCHIVED, STANDARD, FINE, "v$option", "v$parameter"}
        self.audit_trail = "NONE"
        self.traditional = TraditionalTables(version)
        self._sessions = 0
        self.roles = ["AUDIT_VIEWER"]
        self.dba = "FALSE"
        self.container = "SHOP"
        self.unified = "FALSE"
        self.enabled = [
            ("DBAUDIT_SESSIONS", "ALL USERS", "YES", "YES"),
            ("DBAUDIT_STATEMENTS", "ALL USERS", "YES", "YES"),
        ]
        self.rules = [
            ("DBAUDIT_SESSIONS", "LOGON"),
            ("DBAUDIT_SESSIONS", "LOGOFF"),
            ("DBAUDIT_STATEMENTS", "SELECT"),
        ]
        self.archived: datetime.datetime | None = None
        self.passwords = {"DBAUDIT": PASSWORD}
        self.broken: Exception | None = None
        self.queries = 0
        self.hangs = False
        self._entries = 0

    # -- what happens

    def tick(self, microseconds: int = 1000) -> datetime.datetime:
        self.now += datetime.timedelta(microseconds=microseconds)
        return self.now

    def record(self, action: str = "SELECT", **values: Any) -> dict[str, Any]:
        """One audit record; in capitals the columns of the view."""
        self._entries += 1
        row = {
            "TIME": values.pop("TIME", None) or self.tick(),
            "DBID": 1234567890,
            "INSTANCE_ID": 1,
            "SESSIONID": 3111222001,
            "ENTRY_ID": self._entries,
            "STATEMENT_ID": self._entries,
            "SCN": 5_000_000 + self._entries,
            "OS_PROCESS": "4711",
            "AUDIT_TYPE": "Standard",
            "ACTION_NAME": action,
            "RETURN_CODE": 0,
            "DBUSERNAME": "BOB",
            "OS_USERNAME": "bob",
            "USERHOST": "ws9",
            "TERMINAL": "pts/0",
            "CLIENT_PROGRAM_NAME": "sqlplus@ws9 (TNS V1-V3)",
            "AUTHENTICATION_TYPE": ADDRESS.format(method="DATABASE"),
            "UNIFIED_AUDIT_POLICIES": "DBAUDIT_STATEMENTS",
            "OBJECT_NAME": None,
            **values,
        }
        self.rows.append(row)
        return row

    def record_traditional(self, action: str = "SELECT", **values: Any) -> dict[str, Any]:
        """One row of DBA_AUDIT_TRAIL; in capitals the columns of the view."""
        self._entries += 1
        row = {
            "EXTENDED_TIMESTAMP": values.pop("TIME", None) or self.tick(),
            "DBID": 1234567890,
            "INSTANCE_NUMBER": 1,
            "SESSIONID": 3111222001,
            "ENTRYID": self._entries,
            "STATEMENTID": self._entries,
            "OS_PROCESS": "4711",
            "ACTION_NAME": action,
            "RETURNCODE": 0,
            "USERNAME": "BOB",
            "OS_USERNAME": "bob",
            "USERHOST": "ws9",
            "TERMINAL": "pts/0",
            **values,
        }
        self.traditional.standard.append(row)
        return row

    def record_fine(self, **values: Any) -> dict[str, Any]:
        """One row of DBA_FGA_AUDIT_TRAIL."""
        self._entries += 1
        row = {
            "EXTENDED_TIMESTAMP": values.pop("TIME", None) or self.tick(),
            "DBID": 1234567890,
            "INSTANCE_NUMBER": 1,
            "SESSION_ID": 3111222001,
            "ENTRYID": self._entries,
            "STATEMENTID": self._entries,
            "STATEMENT_TYPE": "SELECT",
            "DB_USER": "BOB",
            **values,
        }
        self.traditional.fine.append(row)
        return row

    def purge_traditional(self, until: datetime.datetime) -> None:
        for rows in (self.traditional.standard, self.traditional.fine):
            rows[:] = [row for row in rows if row["EXTENDED_TIMESTAMP"] >= until]
        self.archived = until

    def purge(self, until: datetime.datetime) -> None:
        self.rows = [row for row in self.rows if row["TIME"] >= until]
        self.archived = until

    def log_in(self, target: Target, loop: OwnLoop) -> RecordedConnection:
        user = target.username.upper()
        self._sessions += 1
        number = 3998 + self._sessions
        own = {"DBUSERNAME": user, "CLIENT_PROGRAM_NAME": target.application_name, "SESSIONID": number}
        if self.passwords.get(user) != target.password.reveal():
            self.record("LOGON", RETURN_CODE=1017, **own)
            self.record_traditional("LOGON", RETURNCODE=1017, USERNAME=user, SESSIONID=number)
            raise database_error("ORA-01017: invalid username/password; logon denied")
        self.record("LOGON", **own)
        self.record_traditional("LOGON", USERNAME=user, SESSIONID=number)
        return RecordedConnection(self, own)

    # -- the views

    def answer(
        self, query: str, binds: Mapping[str, Any], own: Mapping[str, Any]
    ) -> tuple[list[str], list[Any]]:
        self.queries += 1
        if self.broken is not None:
            raise self.broken
        if query == PING:
            return ["1"], [(1,)]
        if query == reading.NOW:
            return ["NOW"], [(self.tick(),)]
        if query == trails.OWN_SESSION:
            return ["N"], [(own["SESSIONID"],)]
        if query == rights.WHO:
            return ["A", "B", "C", "D"], [(own["DBUSERNAME"], self.container, "CDB1", self.dba)]
        if query == rights.ROLES:
            return ["ROLE"], [(role,) for role in self.roles]
        if query == settings.PRODUCT:
            return ["PRODUCT"], [(self.product,)]
        view = re.search(r" FROM \(?(?:SELECT .* FROM )?([\w$]+)", query.partition(" UNION ALL ")[0])
        assert view is not None, query
        if view[1] not in self.granted:
            raise database_error("ORA-00942: table or view does not exist")
        if view[1] == "v$option":
            return ["VALUE"], [(self.unified,)]
        if view[1] == "v$parameter":
            assert query == settings.AUDIT_TRAIL
            return ["VALUE"], [(self.audit_trail,)]
        if query in (rights.POLICIES_PROBE, rights.RULES_PROBE):
            return ["1"], []
        if view[1] == ARCHIVED:
            return ["MAX"], [(self.archived,)]
        if view[1] == ENABLED:
            entity = "USER_NAME" if self.version.startswith("12.1") else "ENTITY_NAME"
            if entity.lower() not in query:
                raise database_error("ORA-00904: invalid identifier")
            return ["P", "E", "S", "F"], self.enabled
        if view[1] == RULES:
            return ["P", "O"], self.rules
        if view[1] in (STANDARD, FINE):
            if query.startswith("SELECT * "):
                return list(self.traditional.columns_of(view[1])), []
            self._record_own_traditional(own)
            return self.traditional.run(query, binds, self.container, frozenset(self.granted))
        assert view[1] == TRAIL, query
        if query == trail.PROBE:
            return sorted(self.columns), []
        self._record_own(query, own)
        return self._trail(query, binds)

    def _record_own(self, query: str, own: Mapping[str, Any]) -> None:
        """What the agent asks is recorded too; here as much of it is kept as a test needs."""
        before = [row for row in self.rows if row["OBJECT_NAME"] == "UNIFIED_AUDIT_TRAIL"]
        for row in before[:-20]:
            self.rows.remove(row)
        self.record("SELECT", SQL_TEXT=query, OBJECT_NAME="UNIFIED_AUDIT_TRAIL", **own)

    def _record_own_traditional(self, own: Mapping[str, Any]) -> None:
        rows = self.traditional.standard
        for row in [row for row in rows if row.get("OBJ_NAME") == "DBA_AUDIT_TRAIL"][:-20]:
            rows.remove(row)
        who = {"USERNAME": own["DBUSERNAME"], "SESSIONID": own["SESSIONID"]}
        self.record_traditional("SELECT", OBJ_NAME="DBA_AUDIT_TRAIL", **who)

    def _trail(self, query: str, binds: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
        time = "event_timestamp_utc" if "EVENT_TIMESTAMP_UTC" in self.columns else "event_timestamp"
        for name in _names_in(query):
            if name not in self.columns:
                raise database_error(f'ORA-00904: "{name}": invalid identifier')
        rows = [row for row in self.rows if self._wanted(row, binds)]
        for sign, matches in (
            (f"{time} >= :low", lambda row: row["TIME"] >= binds["low"]),
            (f"{time} < :high", lambda row: row["TIME"] < binds["high"]),
            (f"{time} <= :front", lambda row: row["TIME"] <= binds["front"]),
        ):
            if f"AND {sign}" in query:
                rows = [row for row in rows if matches(row)]
        assert set(re.findall(r":(\w+)", query)) - {"MI"} <= set(binds), "a bind variable has no value"
        if "GROUP BY" in query:
            counts: dict[str, list[int]] = {}
            for row in rows:
                of_minute = counts.setdefault(row["TIME"].strftime("%Y-%m-%d %H:%M"), [0, 0])
                of_minute[row["TIME"] == binds["front"]] += 1
            return ["MINUTE", "BEFORE", "AT"], [(minute, *both) for minute, both in counts.items()]
        rows.sort(key=lambda row: (row["TIME"], row["SESSIONID"], row["ENTRY_ID"]))
        if limit := re.search(r"FETCH FIRST (\d+) ROWS", query):
            rows = rows[: int(limit[1])]
        names = [*trail.COLUMNS]
        return ["TIME", *names, "CON_NAME"], [
            (row["TIME"], *(row.get(name) for name in names), self.container) for row in rows
        ]

    @staticmethod
    def _wanted(row: Mapping[str, Any], binds: Mapping[str, Any]) -> bool:
        return (
            row["DBUSERNAME"] != binds["own_user"]
            or row["CLIENT_PROGRAM_NAME"] != binds["own_program"]
            or (row["ACTION_NAME"] == "LOGON" and row["RETURN_CODE"] != 0)
        )


class RecordedConnection:
    """What ``oracledb.connect_async`` gives, as far as the engine uses it."""

    def __init__(self, server: RecordedServer, own: Mapping[str, Any]) -> None:
        self.server = server
        self.own = own
        self.version = server.version

    def cursor(self) -> RecordedCursor:
        return RecordedCursor(self)

    async def close(self) -> None:
        if self.server.hangs:
            await asyncio.sleep(3600)
        self.server.record("LOGOFF", **self.own)
        who = {"USERNAME": self.own["DBUSERNAME"], "SESSIONID": self.own["SESSIONID"]}
        self.server.record_traditional("LOGOFF", **who)


class RecordedCursor:
    """What ``AsyncConnection.cursor`` gives, as far as the engine uses it."""

    arraysize = prefetchrows = 0

    def __init__(self, connection: RecordedConnection) -> None:
        self._connection = connection
        self._rows: Iterator[Any] = iter(())
        self.description: list[tuple[str]] = []
        self._sizes: set[str] = set()

    def setinputsizes(self, **sizes: Any) -> None:
        self._sizes = set(sizes)

    async def execute(self, query: str, binds: Mapping[str, Any], *, fetch_lobs: bool) -> None:
        assert not fetch_lobs, "texts would come as locators"
        times = {name for name, value in binds.items() if isinstance(value, datetime.datetime)}
        assert times <= self._sizes, "the driver would bind a DATE, without microseconds"
        if self._connection.server.hangs:
            await asyncio.sleep(3600)
        names, rows = self._connection.server.answer(query, binds, self._connection.own)
        self.description = [(name,) for name in names]
        self._rows = iter(rows)

    async def fetchmany(self, size: int) -> list[Any]:
        assert size > 0
        return [row for _n, row in zip(range(size), self._rows, strict=False)]

    def close(self) -> None:
        self._rows = iter(())


def target_of(**values: Any) -> Target:
    return Target(
        **{
            "database_id": "db_1",
            "host": "127.0.0.1",
            "port": 1521,
            "database": "shop",
            "username": "dbaudit",
            "password": Secret(PASSWORD),
            "ssl_mode": SslMode.DISABLE,
            "connect_timeout_seconds": 2.0,
            "statement_timeout_seconds": 2.0,
            **values,
        }
    )


def connect(server: RecordedServer, target: Target | None = None) -> ServerConnection:
    """A connection to the recorded server, in place of ``connection.connect``."""
    from dbaudit.engines.oracle.failures import login_failure

    target = target or target_of()
    loop = OwnLoop()
    try:
        return ServerConnection(server.log_in(target, loop), loop, target)
    except oracledb.Error as error:
        loop.abort()
        failure = login_failure(target, error)
    raise failure from None


def recorded_engine(server: RecordedServer, port: int = 1521) -> OracleEngine:
    """The engine, whose sessions to one port are to the recorded server; all others are the driver's own."""
    engine = OracleEngine()
    real = engine.open

    def open_session(target: Target) -> Session:
        if target.port != port:
            return real(target)
        return OracleSession(connect(server, target), Options.of(target.options))

    engine.open = open_session  # type: ignore[method-assign]
    return engine
