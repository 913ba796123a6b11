"""Where reading goes on: the cursor of this engine.

A file's name may be used again and a file may be truncated, so beside the name and the offset of a record's
border it holds a fingerprint of the file's first bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor
from dbaudit.engines.postgresql.files import HEAD_BYTES, LogFile, Portion
from dbaudit.engines.postgresql.records import LogFileFormat

_CURSOR_VERSION = 1


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a log file.

    ``directory`` is as log_directory names it. ``size`` and ``modified_us`` are those of the file when it was
    last seen. ``aligned`` is False where ``offset`` may be inside a record. ``time_zones`` are the present
    log_timezone and those before it, latest first; so are ``line_prefixes`` those of log_line_prefix, where
    the log is text, and ``syslog_idents`` those of syslog_ident. ``numbers`` are as in LogContext. An empty
    ``file`` means that there was none yet.
    """

    v: int = _CURSOR_VERSION
    format: LogFileFormat
    directory: str
    file: str = ""
    offset: int = 0
    head: str = ""
    head_bytes: int = 0
    size: int = 0
    modified_us: int = 0
    aligned: bool = True
    time_zones: tuple[str, ...] = ()
    line_prefixes: tuple[str, ...] = ()
    syslog_idents: tuple[str, ...] = ()
    numbers: dict[str, int] = {}

    def moved(self, by: int, portion: Portion, *, aligned: bool = True) -> Position:
        """``by`` bytes further in the same file."""
        offset = self.offset + by
        head_bytes = min(offset, HEAD_BYTES, len(portion.head))
        return msgspec.structs.replace(
            self,
            offset=offset,
            head=fingerprint(portion.head, head_bytes),
            head_bytes=head_bytes,
            size=portion.size,
            modified_us=portion.modified_us,
            aligned=aligned,
        )

    def at_start_of(self, file: LogFile, **changes: Any) -> Position:
        """At the first byte of another file, or of this one again."""
        return msgspec.structs.replace(
            self,
            file=file.name,
            offset=0,
            head="",
            head_bytes=0,
            size=0,
            modified_us=file.modified_us,
            aligned=True,
            **changes,
        )

    def is_in(self, portion: Portion) -> bool:
        """Whether a portion is of the file that this is a position in, as it was."""
        return portion.size >= self.offset and fingerprint(portion.head, self.head_bytes) == self.head

    def cursor(self) -> Cursor:
        """As JSON values."""
        cursor: dict[str, Any] = msgspec.to_builtins(self)
        return cursor


def fingerprint(head: bytes, length: int) -> str:
    """Of the first ``length`` bytes of a file; empty for none."""
    return hashlib.sha256(head[:length]).hexdigest()[:16] if length else ""


def understood(cursor: Cursor) -> Position:
    """The position that a stored cursor holds. Raises ConfigurationError for one of another engine."""
    position = cursors.understood(cursor, Position, _CURSOR_VERSION)
    if position.offset < 0 or position.head_bytes < 0:
        raise cursors.not_ours()
    return position
