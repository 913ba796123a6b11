"""Cutting a record of server_audit into its columns where its names hold commas, quotes or line breaks.

    SERVER,USER,HOST,CONNECTION,QUERY_ID,OPERATION,DATABASE,'STATEMENT',CODE
    SERVER,USER,HOST,CONNECTION,0,CONNECT,DATABASE,,CODE
    SERVER,USER,HOST,CONNECTION,QUERY_ID,READ,DATABASE,TABLE,

Names are not escaped, and clients choose them: a client that fails to log in chooses the user, and a user who
may create a database or a table chooses its name. So a record is read from its ends, where only the server
writes, and from its escaped statement. If a name holds what looks like the columns between, the record can be
read in more than one way, and ``Columns.readings`` says in how many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

CONNECTION_OPERATIONS = frozenset(
    {b"CONNECT", b"FAILED_CONNECT", b"DISCONNECT", b"CHANGEUSER", b"PROXY_CONNECT"}
)
STATEMENT_OPERATIONS = frozenset({b"QUERY", b"QUERY_DDL", b"QUERY_DML", b"QUERY_DML_NO_SELECT", b"QUERY_DCL"})
LONGEST_NAMES_BYTES = 4096
"""server_audit makes records of connections and tables in a buffer of 1024 bytes."""

_LONGEST_DATABASE_BYTES = 256
_CODE = re.compile(rb"',(-?\d{1,10})\Z")
_MIDDLE = re.compile(
    rb"(?=,([^,\n]*),(-?\d{1,11}),(\d{1,19}),"
    rb"(QUERY|QUERY_D[A-Z_]{2,12}|CONNECT|FAILED_CONNECT|DISCONNECT|CHANGEUSER|PROXY_CONNECT|READ|WRITE|CREATE|ALTER|DROP|RENAME),)"
)
_CONNECTION_END = re.compile(rb"(.*),([^,\n]*),(-?\d+)\Z", re.DOTALL)
_ENTERPRISE_END = re.compile(rb"(.*),(),(-?\d+),(TLSv[\d.]+|SSLv\d|)\Z", re.DOTALL)
"""MariaDB Enterprise 12.3 puts the version of TLS behind the code."""


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a record. ``readings`` is in how many ways its names can be separated; if there are
    several, these columns are of the last one.
    """

    user: bytes
    host: bytes
    connection: bytes
    query_id: bytes
    operation: bytes
    database: bytes
    thing: bytes
    code: bytes
    readings: int = 1


def query_columns(line: bytes, start: int) -> Columns | None:
    """The columns of a record of a statement that begins at ``start``; None where it is not one."""
    found = _CODE.search(line, max(start, len(line) - 16))
    if found is None:
        return None
    quote = _unescaped_quote(line, start, found.start())
    if not start < quote <= start + LONGEST_NAMES_BYTES or line[quote - 1 : quote] != b",":
        return None
    readings = [
        one
        for one in _readings(line[start:quote], STATEMENT_OPERATIONS)
        if len(one.database) <= _LONGEST_DATABASE_BYTES
    ]
    if not readings:
        return None
    # A message in place of the database holds a name that the client chose; the user before it is certain.
    first = readings[0]
    chosen = first if _is_message(first) else readings[-1]
    return msgspec.structs.replace(
        chosen,
        thing=line[quote + 1 : found.start()],
        code=found[1],
        readings=1 if chosen is first else len(readings),
    )


def connection_columns(line: bytes, start: int) -> Columns | None:
    """The columns of a record of a connection, whatever is in its names; None where it is not one."""
    return _connection_columns(line, start, _CONNECTION_END)


def enterprise_columns(line: bytes, start: int) -> Columns | None:
    """As ``connection_columns``, of MariaDB Enterprise."""
    return _connection_columns(line, start, _ENTERPRISE_END)


def _connection_columns(line: bytes, start: int, pattern: re.Pattern[bytes]) -> Columns | None:
    if len(line) > LONGEST_NAMES_BYTES:
        return None
    end = pattern.match(line, start)
    if end is None:
        return None
    readings = list(_readings(line[start : end.end(1) + 1], CONNECTION_OPERATIONS))
    if not readings:
        return None
    last = readings[-1]
    # Of a refused log-in the server writes no database: what looks like a record is part of the user's name.
    sure = end[3] != b"0" or last.operation == b"FAILED_CONNECT"
    database, thing = last.database, end[4] if pattern is _ENTERPRISE_END else end[2]
    if last.operation == b"PROXY_CONNECT" and not thing.startswith(b"`"):
        database, _comma, thing = (database + b"," + thing).rpartition(b",`")
        thing = b"`" + thing
    return msgspec.structs.replace(
        last,
        database=database,
        thing=thing,
        code=end[3],
        readings=1 if sure and not database else len(readings),
    )


def table_columns(line: bytes, start: int) -> Columns | None:
    """The columns of a record of a table; None where it is not one. ``database`` ends at the first comma."""
    if len(line) > LONGEST_NAMES_BYTES or not line.endswith(b","):
        return None
    operations = {b"READ", b"WRITE", b"CREATE", b"ALTER", b"DROP", b"RENAME"}
    readings = [one for one in _readings(line[start:], operations) if b"," in one.database]
    if not readings:
        return None
    database, _comma, thing = readings[0].database.partition(b",")
    return msgspec.structs.replace(readings[0], database=database, thing=thing, readings=len(readings))


def looks_like_a_record(name: bytes) -> bool:
    """Whether a name holds the columns in the middle of a record."""
    return _MIDDLE.search(name) is not None


def _readings(text: bytes, operations: set[bytes] | frozenset[bytes]) -> Iterator[Columns]:
    """Every way to separate the names of a record, the shortest user first. ``text`` ends with the comma
    behind the database.
    """
    server = text.find(b",")
    if server < 0:
        return
    for found in _MIDDLE.finditer(text, server + 1):
        host, connection, query_id, operation = found.groups()
        if operation in operations and found.end(4) + 2 <= len(text):
            yield Columns(
                user=text[server + 1 : found.start()],
                host=host,
                connection=connection,
                query_id=query_id,
                operation=operation,
                database=text[found.end(4) + 1 : -1],
                thing=b"",
                code=b"",
            )


def _is_message(columns: Columns) -> bool:
    return b"'@'" in columns.database


def _unescaped_quote(line: bytes, start: int, end: int) -> int:
    """The last quote before ``end`` that is not escaped; -1 for none."""
    while (end := line.rfind(b"'", start, end)) >= 0:
        before = end
        while before > start and line[before - 1 : before] == b"\\":
            before -= 1
        if (end - before) % 2 == 0:
            return end
    return -1
