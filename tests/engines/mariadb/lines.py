"""Blocks of lines for the decoder, and what came out of them."""

from typing import Any

import msgspec
from dbaudit.core.event import AuditEvent
from dbaudit.engine.base import Decoded
from dbaudit.engines.mariadb.decoding import decode
from dbaudit.engines.mariadb.records import LineBlock, LineContext, LineFormat
from dbaudit.engines.mariadb.times import Hours

STAMP = b"20261122 10:15:03"
TIME_US = 1_795_342_503_000_000
"""The instant of STAMP in UTC."""
HOURS: Hours = {b"20261122 10": 1_795_341_600_000_000}
CONTEXT = LineContext(
    own_user="dbaudit",
    own_host="10.0.0.1",
    query_log_limit=1024,
    server_host="db1",
    syslog_ident="mysql-server_auditing",
)


def block(data: bytes, *, whole: bool = True, syslog: bool = False) -> LineBlock:
    """A block that begins at offset 1000 of a file."""
    kind = LineFormat.SYSLOG if syslog else LineFormat.SERVER_AUDIT
    hours = {**HOURS, b"Nov 22 10": HOURS[b"20261122 10"]}
    return LineBlock(kind, "f1", 1000, data, hours, CONTEXT, whole)


def with_context(record: LineBlock, **changes: Any) -> LineBlock:
    """The block, of which the decoder knows something else."""
    return msgspec.structs.replace(record, context=msgspec.structs.replace(record.context, **changes))


def decoded(*lines: bytes) -> Decoded:
    """What the lines become, each with the stamp and the server's host before it."""
    return decode([block(b"".join(STAMP + b",db1," + line + b"\n" for line in lines))])


def events(*lines: bytes) -> list[AuditEvent]:
    """The events of lines, none of which is put aside."""
    found = decoded(*lines)
    assert found.rejected == []
    return found.events


def event(line: bytes) -> AuditEvent:
    """The only event of a line."""
    (found,) = events(line)
    return found
