"""Records that are explained by the next record of their session, and how long to wait for it.

`connection received` does not yet say whose connection it is, `connection authorized` not whether the
database is there, and a statement of log_statement not whether pgaudit tells of it too. The server writes the
next record within a millisecond; where a read falls between the two, the first one is left for the next read.
"""

from __future__ import annotations

import re

from dbaudit.engines.postgresql.records import LogContext, LogFileFormat

_WINDOW_BYTES = 16 * 1024
_OPENING = re.compile(rb"connection (?:received|authenticated|authorized): ")
_OPENING_OR_STATEMENT = re.compile(
    rb"connection (?:received|authenticated|authorized): |\"(?:statement|execute [^:]*): "
)
_SESSION = {
    LogFileFormat.CSVLOG: re.compile(rb",([0-9a-f]+\.[0-9a-f]+),\d+,"),
    LogFileFormat.JSONLOG: re.compile(rb'"session_id":"([0-9a-f]+\.[0-9a-f]+)"'),
}


def explained_end(log_format: LogFileFormat, context: LogContext, data: bytes, end: int) -> int:
    """Where to end so that no record before it waits for one after it; ``end`` itself in most cases.

    ``data[:end]`` are whole records.
    """
    waiting = _OPENING if context.audited == "none" else _OPENING_OR_STATEMENT
    for found in waiting.finditer(data, max(0, end - _WINDOW_BYTES), end):
        start = data.rfind(b"\n", 0, found.start()) + 1
        if log_format is LogFileFormat.CSVLOG and data.count(b'"', 0, start) % 2:
            continue  # the words stand in a statement of several lines
        line_end = data.find(b"\n", found.start(), end) + 1
        session = _SESSION[log_format].search(data, start, line_end or end)
        if session and line_end and data.find(session[1], line_end, end) < 0:
            return start
    return end
