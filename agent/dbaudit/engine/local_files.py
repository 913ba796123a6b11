"""Following a log on this host's disk that another program writes and rotates.

A file is known by its device, its inode and a fingerprint of its first record, never by its name: rotation
renames files, and names and inodes are used again. A file is read to its end before the next one, and is
kept open meanwhile, so that it may be renamed, removed or compressed before its end was read. What was lost
all the same is told as a ``Loss``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine.rotation import RotatedFile, Successor, rotated_files, successor, written_since

HEAD_BYTES = 512
"""No more than this of a file's first record is its fingerprint."""

LARGEST_RECORD_BYTES = 16 << 20
KEPT_BYTES = 64 << 10
"""How much is kept of a record that is longer than the largest."""

_LONGEST_MARK_BYTES = 256
_REMOVED = "A log file was removed before it was read to its end."
_REPLACED = "A log file was truncated or replaced before it was read to its end."
_BETWEEN = "Log files were removed before they were read."


class Borders(NamedTuple):
    """Where records of a format end, in bytes that may begin and end inside of one.

    ``first`` gives the place behind the first end of a record, ``last`` the place behind the last end; 0 for
    none. What marks an end is shorter than 256 bytes.
    """

    first: Callable[[bytes], int]
    last: Callable[[bytes], int]


LINES = Borders(lambda data: data.find(b"\n") + 1, lambda data: data.rfind(b"\n") + 1)
"""Records that are lines."""


class FilePosition(msgspec.Struct, frozen=True, kw_only=True):
    """A place in one of the files; JSON values only, to be a part of an engine's cursor.

    ``name`` is for people. ``head`` is the fingerprint of the first ``head_bytes`` of the file, empty as long
    as its first record is not whole: ``f"{head}:{offset}"`` names a record for ever. ``size`` and
    ``modified_us`` are those of the file when it was last seen. ``aligned`` is False inside a record that is
    to be skipped. An ``inode`` of 0 means that there was no file yet.
    """

    name: str = ""
    device: int = 0
    inode: int = 0
    head: str = ""
    head_bytes: int = 0
    offset: int = 0
    size: int = 0
    modified_us: int = 0
    aligned: bool = True

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the file itself, whatever its name."""
        return self.device, self.inode


class Loss(msgspec.Struct, frozen=True):
    """Records that were written and cannot be read any more, after the place ``position``."""

    reason: str
    position: FilePosition
    size_now: int | None = None

    def event(self) -> AuditEvent:
        """The gap event, with what is known of the size."""
        at = self.position
        return gap(
            key=f"gap:{at.inode:x}:{at.head}:{at.offset}",
            time_us=now_us(),
            reason=self.reason,
            source=at.name,
            offset=at.offset,
            known_unread_bytes=max(0, at.size - at.offset),
            lost_records=None,
            size_now=self.size_now,
        )


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """What one read gave.

    ``data`` are whole records, the first at ``start``; ``after`` is where the next read goes on. Where
    ``whole`` is False, ``data`` is one record without its end (at most its first 64 KiB): the file ended
    inside of it for good, or it is longer than the largest record. ``more`` says that another read gives
    something at once.
    """

    data: bytes = b""
    start: FilePosition
    after: FilePosition
    whole: bool = True
    losses: tuple[Loss, ...] = ()
    more: bool = False


class _Held(NamedTuple):
    """The file that is open."""

    descriptor: int
    name: str
    identity: tuple[int, int]


class LocalLog:
    """Follows the log whose live file is ``path``.

    ``remedy`` is what to do where the files cannot be read. Used by one thread at a time.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        borders: Borders = LINES,
        *,
        remedy: str,
        largest_record_bytes: int = LARGEST_RECORD_BYTES,
    ) -> None:
        self.path = Path(path).absolute()
        self._borders = borders
        self._remedy = remedy
        self._largest = largest_record_bytes
        self._held: _Held | None = None

    def first_position(self, *, beginning: bool = False) -> FilePosition:
        """At the end of the live file, or at the beginning of the oldest one. Raises DbauditError."""
        try:
            files = self._files() or []
            if not files:
                # The clock of files lags behind by some milliseconds.
                return FilePosition(modified_us=now_us() - 1_000_000)
            if beginning:
                return _at_start(files[0])
            if not files[-1].live:
                return FilePosition(name=files[-1].name, modified_us=files[-1].modified_us + 1)
            at_start = _at_start(files[-1])
            held = self._open(files[-1])
            if held is None:
                return at_start
            return self._moved(at_start, held, self._last_border(held))
        except OSError as error:
            raise self._unreadable(error) from None

    def read(self, position: FilePosition, limit_bytes: int) -> Portion:
        """The whole records after ``position``, about ``limit_bytes`` of them at most.

        A single record longer than that is given whole. Raises ConfigurationError where the files cannot be
        read, TransientError where the disk fails.
        """
        try:
            if position.inode == 0:
                return self._first_file(position)
            held = self._find(position)
            if held is None:
                return self._after_loss(position)
            return self._read(position, held, max(1, limit_bytes))
        except OSError as error:
            raise self._unreadable(error) from None

    def close(self) -> None:
        """Closes the file that is open; reading may go on afterwards."""
        if self._held is not None:
            os.close(self._held.descriptor)
            self._held = None

    # -- which file

    def _files(self) -> list[RotatedFile] | None:
        return rotated_files(self.path)

    def _open(self, file: RotatedFile) -> _Held | None:
        """None where another file has the name meanwhile."""
        if self._held is not None and self._held.identity == file.identity:
            return self._held
        try:
            path = self.path.with_name(file.name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (status.st_dev, status.st_ino) != file.identity:
            os.close(descriptor)
            return None
        self.close()
        self._held = _Held(descriptor, file.name, file.identity)
        return self._held

    def _find(self, position: FilePosition) -> _Held | None:
        """The open file of a position: the same file, or one with the same beginning where that was copied
        (and then truncated) or came from elsewhere.
        """
        held = self._held
        if held is not None and held.identity == position.identity and _is_in(position, held):
            return held
        files = self._files()
        if files is None:
            raise TransientError(
                ErrorCode.AUDIT_SOURCE_MISSING, f"The files of {self.path} are being renamed all the time."
            )
        alike = [file for file in files if file.identity == position.identity]
        if not position.head_bytes:
            # Nothing but the inode tells of an empty file, and inodes are used again: but then other files
            # were written to meanwhile.
            earlier = files[: files.index(alike[0])] if alike else []
            used_again = not alike or written_since(earlier, position.modified_us + 1)
            return None if used_again else self._open(alike[0])
        alike += [file for file in files if file.identity != position.identity]
        for file in alike:
            if file.size < position.offset:
                continue
            held = self._open(file)
            if held is not None and _is_in(position, held):
                return held
        return None

    def _first_file(self, position: FilePosition) -> Portion:
        files = written_since(self._files() or [], position.modified_us)
        if not files:
            return Portion(start=position, after=position)
        return Portion(start=position, after=_at_start(files[0]), more=True)

    def _after_loss(self, position: FilePosition) -> Portion:
        files = self._files()
        if files is None:
            return Portion(start=position, after=position)
        present = next((file for file in files if file.identity == position.identity), None)
        size_now = present.size if present else None
        later = written_since(files, position.modified_us)
        made_anew = position.size == 0 and (not later or later[0].live)
        losses = () if made_anew else (Loss(_REPLACED if present else _REMOVED, position, size_now),)
        if not later:
            nowhere = FilePosition(name=position.name, modified_us=position.modified_us)
            return Portion(start=position, after=nowhere, losses=losses)
        return Portion(start=position, after=_at_start(later[0]), losses=losses, more=True)

    def _successor(self, held: _Held) -> Successor | None:
        """The file to read after this one, once something was written to it: the writer is done with this
        one then, and not before.
        """
        try:
            status = self.path.stat()
            if (status.st_dev, status.st_ino) == held.identity:
                return None
        except FileNotFoundError:
            pass
        following = successor(self._files() or [], held.identity, _modified_us(held))
        if following is None or (following.file.live and following.file.size == 0):
            return None
        return following

    # -- records

    def _read(self, position: FilePosition, held: _Held, limit_bytes: int) -> Portion:
        if not position.aligned:
            limit_bytes = max(limit_bytes, KEPT_BYTES)
        data = _bytes_at(held, position.offset, limit_bytes)
        following = None
        at_end = len(data) < limit_bytes
        if at_end:
            # In this order: once the next file has records, what is read of this one is all of it.
            following = self._successor(held)
            data += _bytes_at(held, position.offset + len(data), limit_bytes - len(data))
            at_end = len(data) < limit_bytes
        if not position.aligned:
            return self._skip(position, held, data, following if at_end else None)
        end = self._borders.last(data)
        if end:
            after = self._moved(position, held, position.offset + end)
            more = not at_end or following is not None
            start = msgspec.structs.replace(position, head=after.head, head_bytes=after.head_bytes)
            return Portion(data=data[:end], start=start, after=after, more=more)
        if not at_end:
            if limit_bytes < self._largest:
                return self._read(position, held, min(limit_bytes * 4, self._largest))
            return self._oversized(position, held, data)
        if following is None:
            return Portion(start=position, after=self._moved(position, held, position.offset))
        return self._to_next(position, held, following, data)

    def _oversized(self, position: FilePosition, held: _Held, data: bytes) -> Portion:
        after = self._moved(position, held, position.offset + len(data) - _LONGEST_MARK_BYTES, aligned=False)
        start = msgspec.structs.replace(position, head=after.head, head_bytes=after.head_bytes)
        return Portion(data=data[:KEPT_BYTES], start=start, after=after, whole=False, more=True)

    def _skip(self, position: FilePosition, held: _Held, data: bytes, following: Successor | None) -> Portion:
        """To the end of the record that the position is inside of."""
        end = self._borders.first(data)
        if end:
            after = self._moved(position, held, position.offset + end)
            return Portion(start=position, after=after, more=True)
        if following is not None:
            return self._to_next(position, held, following, b"")
        passed = max(0, len(data) - _LONGEST_MARK_BYTES)
        after = self._moved(position, held, position.offset + passed, aligned=False)
        return Portion(start=position, after=after, more=passed > 0)

    def _to_next(self, position: FilePosition, held: _Held, following: Successor, data: bytes) -> Portion:
        """This file is read to its end; ``data`` is what a record without an end left there."""
        end = self._moved(position, held, position.offset + len(data))
        start = msgspec.structs.replace(position, head=end.head, head_bytes=end.head_bytes)
        return Portion(
            data=data[:KEPT_BYTES],
            start=start,
            after=_at_start(following.file),
            whole=not data,
            losses=(Loss(_BETWEEN, end),) if following.missing else (),
            more=True,
        )

    def _moved(
        self, position: FilePosition, held: _Held, offset: int, *, aligned: bool = True
    ) -> FilePosition:
        head, head_bytes = position.head, position.head_bytes
        if not head_bytes:
            head, head_bytes = head_of(_bytes_at(held, 0, HEAD_BYTES), self._borders)
        status = os.fstat(held.descriptor)
        return FilePosition(
            name=held.name,
            device=held.identity[0],
            inode=held.identity[1],
            head=head,
            head_bytes=head_bytes,
            offset=offset,
            size=max(status.st_size, offset),
            modified_us=status.st_mtime_ns // 1000,
            aligned=aligned,
        )

    def _last_border(self, held: _Held) -> int:
        """The last end of a record in a file. Where the last record is longer than the largest, the end of
        the file.
        """
        size = os.fstat(held.descriptor).st_size
        length = min(64 << 10, size)
        while length:
            end = self._borders.last(_bytes_at(held, size - length, length))
            if end:
                return size - length + end
            if length == size:
                return 0
            if length >= self._largest:
                return size
            length = min(length * 4, size, self._largest)
        return 0

    def _unreadable(self, error: OSError) -> DbauditError:
        what = f"{self.path} cannot be read: {error.strerror or type(error).__name__}."
        if error.errno in (errno.EACCES, errno.EPERM):
            return ConfigurationError(ErrorCode.PERMISSION_MISSING, what, remedy=self._remedy)
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return ConfigurationError(ErrorCode.AUDIT_SOURCE_MISSING, what, remedy=self._remedy)
        return TransientError(ErrorCode.AUDIT_SOURCE_MISSING, what)


def head_of(beginning: bytes, borders: Borders = LINES) -> tuple[str, int]:
    """The fingerprint of a file that begins with these (at most HEAD_BYTES) bytes, and of how many of them;
    empty and 0 as long as its first record is not whole.
    """
    head_bytes = borders.first(beginning) or (HEAD_BYTES if len(beginning) >= HEAD_BYTES else 0)
    return fingerprint(beginning[:head_bytes]), head_bytes


def fingerprint(beginning: bytes) -> str:
    """Of the first bytes of a file; empty for none."""
    return hashlib.sha256(beginning).hexdigest()[:16] if beginning else ""


def _at_start(file: RotatedFile) -> FilePosition:
    return FilePosition(
        name=file.name, device=file.device, inode=file.inode, size=file.size, modified_us=file.modified_us
    )


def _bytes_at(held: _Held, offset: int, length: int) -> bytes:
    """All bytes that are there, up to ``length``: one call to the system may give fewer."""
    data = os.pread(held.descriptor, length, offset)
    while data and len(data) < length:
        part = os.pread(held.descriptor, length - len(data), offset + len(data))
        if not part:
            break
        data += part
    return data


def _is_in(position: FilePosition, held: _Held) -> bool:
    """Whether the open file is the one that this is a position in, as it was."""
    if os.fstat(held.descriptor).st_size < position.offset:
        return False
    if not position.head_bytes:
        return held.identity == position.identity
    return fingerprint(_bytes_at(held, 0, position.head_bytes)) == position.head


def _modified_us(held: _Held) -> int:
    return os.fstat(held.descriptor).st_mtime_ns // 1000
