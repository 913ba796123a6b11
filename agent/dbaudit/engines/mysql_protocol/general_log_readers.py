"""Who reads the general log of a server: several declarations may, of one agent or of several.

Each of them may empty the table, and the rows of all are in it. So a table that one has retired is kept until
the others have read it too. Each reader has a table of its own in the schema ``dbaudit``, in whose comment it
notes which retired table it has read to its end. The tables follow each other: the first row of each names
the one that was retired before it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from dbaudit.core.clock import from_us
from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import ok, warning
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.failures import identifier

SCHEMA = "dbaudit"
"""Where tables are retired to; rights on all of the schema `mysql` would be rights on the accounts."""

KEPT = timedelta(hours=1)
"""How long a retired table is kept for another reader, which may be away, or not declared any more."""

MOST_KEPT = 100
"""How many retired tables are kept for that at most."""

_FIRST = "general_log_"
_NEXT, _READER = "_next", "_reader"
_STAMP = "%Y%m%d%H%M%S%f"
_BEFORE = re.compile(r"[^\t]*\t0\tDaemon\t\d+\t[^\t]*\t(general_log_[A-Za-z0-9_]{1,40}) was retired before\Z")


class Reader(msgspec.Struct, frozen=True):
    """A declaration that reads: its own table, the retired table that it has read to its end (empty where
    there was none yet), and the connection that it reads with (0 where that is not known).
    """

    table: str
    behind: str
    connection: int


def retired_prefix(database_id: str) -> str:
    """What the names of a declared database's retired tables begin with."""
    owner = hashlib.sha256(database_id.encode()).hexdigest()[:10]
    return f"{_FIRST}{owner}_"


def first_row(name: str) -> str:
    """What the first row says of a table that follows the retired table ``name``."""
    return f"{name} was retired before"


def retired_before(row: bytes | None) -> str:
    """The retired table that the one follows whose first row this is; empty where it does not say so."""
    found = _BEFORE.match(row.decode(errors="replace")) if row else None
    return found[1] if found else ""


def stamp_of(name: str) -> str:
    """When a table was retired, as text that sorts; empty for no name."""
    return name.rpartition("_")[2]


def retired_at(name: str) -> datetime | None:
    """When a table was retired; None where the name does not say it."""
    try:
        return datetime.strptime(stamp_of(name), _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None


def retired_name(prefix: str, now: datetime) -> str:
    """The name of a table that is retired now."""
    return f"{prefix}{now.strftime(_STAMP)}"


def retired_tables(connection: ServerConnection) -> list[str]:
    """The names of the retired tables of all declarations, oldest first."""
    names = (name for name, _comment in _tables(connection))
    return sorted((name for name in names if not name.endswith((_NEXT, _READER))), key=stamp_of)


def qualified(name: str) -> str:
    """The name of a table of the schema as it stands in statements."""
    return f"{identifier(SCHEMA)}.{identifier(name)}"


def others(connection: ServerConnection, prefix: str) -> list[Reader]:
    """The readers but for the one whose tables begin with ``prefix``."""
    return [
        _reader(name, comment)
        for name, comment in _tables(connection)
        if name.endswith(_READER) and not name.startswith(prefix)
    ]


def _reader(table: str, comment: str) -> Reader:
    behind, _blank, number = comment.partition(" ")
    return Reader(table, behind, int(number) if number.isdecimal() else 0)


def unneeded(names: Iterable[str], readers: Sequence[Reader], now: datetime) -> list[str]:
    """Those of some retired tables that no other reader has to read, or that were kept for long enough."""
    read_by_all = min((stamp_of(reader.behind) for reader in readers), default="9")
    ordered = sorted(names, key=stamp_of)
    return [
        name
        for place, name in enumerate(ordered, start=1)
        if stamp_of(name) <= read_by_all or _is_old(name, now) or len(ordered) - place >= MOST_KEPT
    ]


def server_now(connection: ServerConnection) -> datetime:
    """The time by the server's clock."""
    # Old servers give no fractions of a second without being asked for them.
    query = "SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)"
    return from_us(int(connection.value(query)))


def diagnosis(connection: ServerConnection) -> Diagnosis:
    """Whether other declarations read this general log, and whether retired tables are left of any."""
    code = "retired_tables"
    prefix, now = retired_prefix(connection.target.database_id), server_now(connection)
    readers, tables = others(connection, prefix), retired_tables(connection)
    left = [name for name in tables if not name.startswith(prefix) and _is_old(name, now)]
    # What was retired last, and that all were to have read by now.
    latest = max((n for n in [*tables, *(r.behind for r in readers)] if n), key=stamp_of, default="")
    late = [r for r in readers if stamp_of(r.behind) < stamp_of(latest) and _is_old(latest, now)]
    if late or left:
        drop = "; ".join(f"DROP TABLE {qualified(name)}" for name in [*(r.table for r in late), *left])
        return warning(
            code,
            f"{len(late)} other declarations have not read this general log for more than an hour, and "
            f"{len(left)} retired tables of others are left. A table is kept an hour for all to read it.",
            f"Where they are not declared any more: {drop};",
        )
    if readers:
        return ok(code, f"{len(readers)} other declarations read this general log: each gets all of it.")
    return ok(code, "No other declaration reads this general log.")


def _is_old(name: str, now: datetime) -> bool:
    return now - (retired_at(name) or now) > KEPT


class OwnReader:
    """The table of one reader."""

    def __init__(self, connection: ServerConnection, prefix: str) -> None:
        self._connection = connection
        self._table = qualified(f"{prefix.removesuffix('_')}{_READER}")
        self._name = f"{prefix}{_READER.removeprefix('_')}"
        self._behind = ""

    def join(self) -> None:
        """Make known that there is this reader, and its connection. Raises DbauditError."""
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} (nothing TINYINT)")
        known = dict(_tables(self._connection)).get(self._name, "")
        self._write(_reader(self._name, known).behind)

    def note(self, behind: str) -> None:
        """Make known which retired table was read to its end. Raises DbauditError."""
        if behind and behind != self._behind:
            self._write(behind)

    def _write(self, behind: str) -> None:
        comment = f"{behind} {self._connection.connection_id}"
        self._connection.execute(f"ALTER TABLE {self._table} COMMENT = %s", [comment])
        self._behind = behind


def _tables(connection: ServerConnection) -> list[tuple[str, str]]:
    rows = connection.rows(
        "SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = %s", [SCHEMA]
    )
    return [(str(row[0]), str(row[1] or "")) for row in rows if str(row[0]).startswith(_FIRST)]
