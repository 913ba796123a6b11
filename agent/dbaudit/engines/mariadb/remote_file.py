"""The file of server_audit through LOAD_FILE: whole files of at most max_allowed_packet, no inodes, no times.

A file is known by the fingerprint of its first record. server_audit renames FILE to FILE.1 and so on, the
oldest is overwritten: the file after FILE.3 is FILE.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.local_files import (
    HEAD_BYTES,
    KEPT_BYTES,
    LINES,
    FilePosition,
    Loss,
    Portion,
    fingerprint,
    head_of,
)
from dbaudit.engines.mysql_protocol.connection import ServerConnection

UMASK_REMEDY = (
    "Run the agent on the server's host, or start the server with the environment variable UMASK=0644 "
    "(systemctl edit mariadb: [Service] Environment=UMASK=0644), which lets every account of that host read "
    "the server's new files."
)
_ELSEWHERE = -1
"""The inode of a file that is not on this host: a LocalLog finds it by its fingerprint."""
_STAMP_BYTES = 17
# A LIMIT keeps the server from merging the query into the outer one, and so from reading the file thrice.
_READ = """
    SELECT LENGTH(content), LEFT(content, %s), SUBSTRING(content, %s, %s)
      FROM (SELECT LOAD_FILE(%s) AS content LIMIT 1) AS file
"""
_REMOVED = "The file of server_audit was rotated away, truncated or removed before it was read to its end."


class RemotePosition(FilePosition, frozen=True, kw_only=True):
    """A place in the file; ``begun`` is the time stamp of its first record."""

    begun: str = ""


class _Seen(NamedTuple):
    """A file as it was when it was read; ``number`` is 0 for the one that is written to."""

    number: int
    size: int
    beginning: bytes
    data: bytes


class RemoteFile:
    """Follows the file at ``path`` on the server's host."""

    def __init__(self, connection: ServerConnection, path: str, rotations: int) -> None:
        self._connection = connection
        self._path = path
        self._rotations = rotations

    def readable(self) -> bool:
        """Whether the server gives the file."""
        return self._seen(0, 0, 1) is not None

    def first_position(self, *, beginning: bool = False) -> RemotePosition:
        """Behind the last whole record, or at the beginning of the oldest file."""
        if beginning:
            return self._at_start(max((seen.number for seen in self._all()), default=0))
        size = self._current().size
        seen = self._seen(0, 0, size + (1 << 20))
        if seen is None:
            raise self.unreadable()
        return self._moved(self._at_start(0), seen, LINES.last(seen.data))

    def read(self, position: RemotePosition, limit_bytes: int) -> Portion:
        """As LocalLog.read."""
        seen = self._find(position, limit_bytes)
        if seen is None:
            return self._after_loss(position)
        end = LINES.last(seen.data)
        if end:
            after = self._moved(position, seen, position.offset + end)
            more = after.offset < seen.size or seen.number > 0
            return Portion(data=seen.data[:end], start=_known(position, after), after=after, more=more)
        if len(seen.data) == limit_bytes and position.offset + limit_bytes < seen.size:
            return self.read(position, limit_bytes * 4)
        if seen.number == 0:
            return Portion(start=position, after=self._moved(position, seen, position.offset))
        return self._to_next(position, seen)

    def close(self) -> None:
        """Nothing is open."""

    def unreadable(self) -> ConfigurationError:
        """The error for a file that LOAD_FILE does not give."""
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"LOAD_FILE does not give {self._path}: it gives files that every account of the server's host "
            "may read, below secure_file_priv and up to max_allowed_packet, to accounts with the right FILE.",
            remedy=UMASK_REMEDY,
        )

    # -- which file

    def _name(self, number: int) -> str:
        return f"{self._path}.{number:0{len(str(self._rotations))}d}" if number else self._path

    def _number(self, name: str) -> int:
        suffix = name.removeprefix(self._path + ".")
        return int(suffix) if suffix.isdecimal() and len(suffix) <= 4 else 0

    def _seen(self, number: int, offset: int, length: int) -> _Seen | None:
        size, beginning, data = self._connection.row(
            _READ, [HEAD_BYTES, offset + 1, length, self._name(number)]
        )
        if size is None:
            return None
        return _Seen(number, size, bytes(beginning or b""), bytes(data or b""))

    def _current(self) -> _Seen:
        seen = self._seen(0, 0, 1)
        if seen is None:
            raise self.unreadable()
        return seen

    def _all(self) -> Iterator[_Seen]:
        """The files that are there, latest first."""
        yield self._current()
        for number in range(1, self._rotations + 1):
            seen = self._seen(number, 0, 1)
            if seen is None:
                return
            yield seen

    def _find(self, position: RemotePosition, length: int) -> _Seen | None:
        """The file of a position, which rotation may have renamed since."""
        for number in range(self._number(position.name), self._rotations + 1):
            seen = self._seen(number, position.offset, length)
            if seen is not None and _is_in(position, seen):
                return seen
            if seen is None and number == 0:
                raise self.unreadable()
        return None

    def _after_loss(self, position: RemotePosition) -> Portion:
        """Begin with the oldest file that was begun after this one."""
        begun = position.begun.encode()
        later = [seen.number for seen in self._all() if seen.beginning[:_STAMP_BYTES] >= begun]
        after = self._at_start(max(later, default=0))
        return Portion(start=position, after=after, losses=(Loss(_REMOVED, position),), more=True)

    def _to_next(self, position: RemotePosition, seen: _Seen) -> Portion:
        """The file is read to its end, and another one is written to."""
        following = self._seen(seen.number - 1, 0, 1)
        again = self._seen(seen.number, position.offset, len(seen.data) + KEPT_BYTES)
        if following is None or again is None or again.data != seen.data or not _is_in(position, again):
            return Portion(start=position, after=position)  # it was renamed between: look again
        start = _known(position, self._moved(position, seen, position.offset))
        after = self._at_start(following.number)
        return Portion(data=seen.data[:KEPT_BYTES], start=start, after=after, whole=not seen.data, more=True)

    def _at_start(self, number: int) -> RemotePosition:
        return RemotePosition(name=self._name(number), inode=_ELSEWHERE)

    def _moved(self, position: RemotePosition, seen: _Seen, offset: int) -> RemotePosition:
        head, head_bytes = head_of(seen.beginning)
        return RemotePosition(
            name=self._name(seen.number),
            inode=_ELSEWHERE,
            head=position.head or head,
            head_bytes=position.head_bytes or head_bytes,
            offset=offset,
            size=max(seen.size, offset),
            begun=seen.beginning[:_STAMP_BYTES].decode("ascii", "replace"),
        )


def _is_in(position: FilePosition, seen: _Seen) -> bool:
    if seen.size < position.offset:
        return False
    return fingerprint(seen.beginning[: position.head_bytes]) == position.head


def _known(position: RemotePosition, after: RemotePosition) -> RemotePosition:
    """With the fingerprint, which is known once the first record is whole."""
    return msgspec.structs.replace(position, head=after.head, head_bytes=after.head_bytes)
