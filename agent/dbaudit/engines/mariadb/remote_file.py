"""The file of server_audit through LOAD_FILE: whole files of at most max_allowed_packet, no inodes, no times.

A file is known by the fingerprint of its first record. server_audit renames FILE to FILE.1 and so on, the
oldest is overwritten: the file after FILE.3 is FILE.2. The numbers have as many digits as the setting
server_audit_file_rotations, and files that were numbered with other digits stay where they are: they are put
in order by their first records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engine.local_files import (
    BETWEEN,
    HEAD_BYTES,
    KEPT_BYTES,
    LINES,
    FilePosition,
    Loss,
    Portion,
    begun_after,
    fingerprint,
    head_of,
)
from dbaudit.engine.rotation import RotatedFile, in_order, successor
from dbaudit.engines.mariadb.times import Beginning
from dbaudit.engines.mysql_protocol.connection import ServerConnection

UMASK_REMEDY = (
    "Run the agent on the server's host, or start the server with the environment variable UMASK=0644 "
    "(systemctl edit mariadb: [Service] Environment=UMASK=0644), which lets every account of that host read "
    "the server's new files."
)
_ELSEWHERE = -1
"""The inode of a file that is not on this host: a LocalLog finds it by its fingerprint."""
_DIGITS = (1, 2, 3)
"""server_audit keeps up to 999 files."""
_MOST_MISSING = 20
"""After so many numbers without a file there are no more."""
_BEGINNING_BYTES = 64 << 10
# A LIMIT keeps the server from merging the query into the outer one, and so from reading the file thrice.
_READ = """
    SELECT LENGTH(content), LEFT(content, %s), SUBSTRING(content, %s, %s)
      FROM (SELECT LOAD_FILE(%s) AS content LIMIT 1) AS file
"""
_REMOVED = "The file of server_audit was rotated away, truncated or removed before it was read to its end."


class _Place(NamedTuple):
    """Which of the files: the number, 0 for the one that is written to, and how many digits it has."""

    number: int
    digits: int


_LIVE = _Place(0, 0)


class _Seen(NamedTuple):
    """A file as it was when it was read."""

    place: _Place
    size: int
    beginning: bytes
    data: bytes


class RemoteFile:
    """Follows the file at ``path`` on the server's host.

    ``kept`` gives how many rotated files the server keeps; ``beginning_of`` says when the first records of a
    file were written.
    """

    def __init__(
        self, connection: ServerConnection, path: str, kept: Callable[[], int], beginning_of: Beginning
    ) -> None:
        self._connection = connection
        self._path = path
        self._kept = kept
        self._beginning_of = beginning_of
        self._chains: dict[int, list[_Seen]] = {}

    def readable(self) -> bool:
        """Whether the server gives the file."""
        return self._seen(_LIVE, 0, 1) is not None

    def first_position(self, *, beginning: bool = False) -> FilePosition:
        """Behind the last whole record, or at the beginning of the oldest file."""
        current = self._current()
        if beginning:
            files = self._all() or []
            oldest = self._seen(self._place(files[0].name), 0, 1) if files else None
            return self._at_start(oldest or current)
        seen = self._seen(_LIVE, 0, current.size + (1 << 20))
        if seen is None:
            raise self.unreadable()
        return self._moved(self._at_start(seen), seen, LINES.last(seen.data))

    def read(self, position: FilePosition, limit_bytes: int) -> Portion:
        """As LocalLog.read."""
        seen = self._find(position, limit_bytes)
        if seen is None:
            return self._after_loss(position)
        end = LINES.last(seen.data)
        if end:
            after = self._moved(position, seen, position.offset + end)
            more = after.offset < seen.size or seen.place.number > 0
            return Portion(data=seen.data[:end], start=_known(position, after), after=after, more=more)
        if len(seen.data) == limit_bytes and position.offset + limit_bytes < seen.size:
            return self.read(position, limit_bytes * 4)
        if seen.place.number == 0:
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

    def _name(self, place: _Place) -> str:
        return f"{self._path}.{place.number:0{place.digits}d}" if place.number else self._path

    def _place(self, name: str) -> _Place:
        suffix = name.removeprefix(self._path + ".")
        if not suffix.isdecimal() or len(suffix) not in _DIGITS:
            return _LIVE
        return _Place(int(suffix), len(suffix))

    def _seen(self, place: _Place, offset: int, length: int, beginning: int = HEAD_BYTES * 8) -> _Seen | None:
        size, first, data = self._connection.row(_READ, [beginning, offset + 1, length, self._name(place)])
        if size is None:
            return None
        return _Seen(place, size, bytes(first or b""), bytes(data or b""))

    def _current(self) -> _Seen:
        seen = self._seen(_LIVE, 0, 1)
        if seen is None:
            raise self.unreadable()
        return seen

    def _find(self, position: FilePosition, length: int) -> _Seen | None:
        """The file of a position, which rotation may have renamed since."""
        for place in self._later_places(self._place(position.name)):
            seen = self._seen(place, position.offset, length)
            if seen is not None and _is_in(position, seen):
                return seen
            if seen is None and place.number == 0:
                raise self.unreadable()
        return None

    def _later_places(self, place: _Place) -> Iterator[_Place]:
        """Where rotation may have put a file since it was at ``place``, that one first."""
        if place.number == 0:
            yield place
            current = len(str(self._kept()))
            # The setting may have been changed since the file was renamed.
            for digits in sorted(_DIGITS, key=lambda digits: digits != current):
                yield from self._existing(_Place(1, digits))
        else:
            yield place
            yield from self._existing(_Place(place.number + 1, place.digits))

    def _existing(self, first: _Place) -> Iterator[_Place]:
        """The places from ``first`` on in which there are files, but for those after a long hole."""
        missing = 0
        for number in range(first.number, 10**first.digits):
            place = _Place(number, first.digits)
            missing = 0 if self._seen(place, 0, 0) is not None else missing + 1
            if missing > _MOST_MISSING:
                return
            if not missing:
                yield place

    def _chain(self, digits: int) -> list[_Seen]:
        """The files with so many digits, latest first: as they were when the latest of them came."""
        latest = self._seen(_Place(1, digits), 0, 0, _BEGINNING_BYTES)
        known = self._chains.get(digits)
        if latest is None:
            return []
        if not known or known[0].beginning != latest.beginning:
            places = self._existing(_Place(2, digits))
            found = (self._seen(place, 0, 0, _BEGINNING_BYTES) for place in places)
            known = self._chains[digits] = [latest, *filter(None, found)]
        return known

    def _all(self, known: _Place = _LIVE) -> list[RotatedFile] | None:
        """The files, oldest first; None where the server rotated them meanwhile.

        A file without records is not of server_audit, but for the live one and a ``known`` one.
        """
        current = self._current()
        self._chains.clear()
        seen = [one for digits in _DIGITS for one in self._chain(digits)]
        if self._current().beginning != current.beginning:
            return None
        files = [self._rotated(one, inode) for inode, one in enumerate([current, *seen])]
        ours = (file for file in files if file.live or file.begun or file.name == self._name(known))
        return in_order(ours, len(str(self._kept())))

    def _rotated(self, seen: _Seen, inode: int) -> RotatedFile:
        """A file as rotation.py knows it: numbers of statements grow, and stand for its time."""
        begun, first_query = self._beginning_of(seen.beginning)
        return RotatedFile(
            name=self._name(seen.place),
            device=_ELSEWHERE,
            inode=inode,
            size=seen.size,
            modified_us=first_query,
            number=seen.place.number or None,
            digits=seen.place.digits,
            begun=begun,
        )

    def _after_loss(self, position: FilePosition) -> Portion:
        """Begin with the oldest file that was begun after this one."""
        files = self._all()
        if files is None:
            return Portion(start=position, after=position)
        later = [file for file in files if file.live or file.begun >= position.begun]
        seen = self._seen(self._place(later[0].name), 0, 1)
        if seen is None:
            return Portion(start=position, after=position)
        after = begun_after(position, self._at_start(seen), self._path)
        return Portion(start=position, after=after, losses=(Loss(_REMOVED, position),), more=True)

    def _to_next(self, position: FilePosition, seen: _Seen) -> Portion:
        """The file is read to its end, and another one is written to."""
        following, missing = self._following(position, seen)
        again = self._seen(seen.place, position.offset, len(seen.data) + KEPT_BYTES)
        if following is None or again is None or again.data != seen.data or not _is_in(position, again):
            return Portion(start=position, after=position)  # it was renamed between: look again
        end = self._moved(position, seen, position.offset + len(seen.data))
        return Portion(
            data=seen.data[:KEPT_BYTES],
            start=_known(position, end),
            after=begun_after(position, self._at_start(following), self._path),
            whole=not seen.data,
            losses=(Loss(BETWEEN, end),) if missing else (),
            more=True,
        )

    def _following(self, position: FilePosition, seen: _Seen) -> tuple[_Seen | None, bool]:
        """The file after one of those with numbers, and whether others between are missing."""
        number, digits = seen.place
        others = [one for other in _DIGITS if other != digits for one in self._chain(other)]
        if position.begun and all(self._beginning_of(one.beginning)[0] < position.begun for one in others):
            following = self._seen(_Place(number - 1, digits) if number > 1 else _LIVE, 0, 1)
            if following is not None:
                return following, False
        files = self._all(seen.place) or []
        here = next((file for file in files if file.name == self._name(seen.place)), None)
        found = successor(files, here.identity, 0, self._kept) if here is not None else None
        if found is None:
            return None, False
        return self._seen(self._place(found.file.name), 0, 1), found.missing

    def _at_start(self, seen: _Seen) -> FilePosition:
        head, head_bytes = head_of(seen.beginning[:HEAD_BYTES])
        return FilePosition(
            name=self._name(seen.place),
            inode=_ELSEWHERE,
            head=head,
            head_bytes=head_bytes,
            begun=self._beginning_of(seen.beginning)[0] if head_bytes else "",
        )

    def _moved(self, position: FilePosition, seen: _Seen, offset: int) -> FilePosition:
        start = self._at_start(seen)
        return msgspec.structs.replace(
            start,
            head=position.head or start.head,
            head_bytes=position.head_bytes or start.head_bytes,
            offset=offset,
            size=max(seen.size, offset),
            trail=position.trail,
        )


def _is_in(position: FilePosition, seen: _Seen) -> bool:
    if seen.size < position.offset:
        return False
    return fingerprint(seen.beginning[: position.head_bytes]) == position.head


def _known(position: FilePosition, after: FilePosition) -> FilePosition:
    """With the fingerprint, which is known once the first record is whole."""
    return msgspec.structs.replace(position, head=after.head, head_bytes=after.head_bytes)
