"""Following a log on this host's disk that another program writes and rotates.

A file is known by its device, its inode and a fingerprint of its first record, never by its name: rotation
renames files, and names and inodes are used again. A file is read to its end before the next one, and is
kept open meanwhile, so that it may be renamed, removed or compressed before its end was read. What was lost
all the same becomes a ``Loss``. A file that is begun again and again is an error: reading goes in circles.
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
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.circles import Trail
from dbaudit.engine.host_access import open_local
from dbaudit.engine.rotation import RotatedFile, Successor, rotated_files, successor, written_since

HEAD_BYTES = 512
"""No more than this of a file's first record is its fingerprint."""

LARGEST_RECORD_BYTES = 16 << 20
KEPT_BYTES = 64 << 10
"""How much is kept of a record that is longer than the largest."""

_BEGINNING_BYTES = 4096
"""How much of a file is looked at for when it was begun."""
_LONGEST_MARK_BYTES = 256
_REMOVED = "A log file was removed before it was read to its end."
_REPLACED = "A log file was truncated or replaced before it was read to its end."
BETWEEN = "Log files were removed or overwritten before they were read."


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
    as its first record is not whole: ``f"{head}:{offset}"`` names a record permanently. ``size`` and
    ``modified_us`` are those of the file when it was last seen, and ``begun`` is when its first records were
    written, as text that sorts, where the format says it. ``aligned`` is False inside a record that is to be
    skipped. An ``inode`` of 0 means that there was no file yet. ``trail`` is of the files that were begun.
    """

    name: str = ""
    device: int = 0
    inode: int = 0
    head: str = ""
    head_bytes: int = 0
    offset: int = 0
    size: int = 0
    modified_us: int = 0
    begun: str = ""
    aligned: bool = True
    trail: Trail = Trail()

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
    """Follows the log whose live file is ``path``. Used by one thread at a time.

    Args:
        path: of the live file.
        borders: where records end.
        remedy: what to do where the files cannot be read.
        largest_record_bytes: a longer record is given cut.
        begun: when the first of some records were written, as text that sorts; empty where that is not known.
            Files that are numbered in more than one way are put in order by it.
        kept: gives how many rotated files the writer keeps that numbers them; 0 where that is not known.
        limits: what the agent allows, which is ``Target.limits``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        borders: Borders = LINES,
        *,
        remedy: str,
        largest_record_bytes: int = LARGEST_RECORD_BYTES,
        begun: Callable[[bytes], str] | None = None,
        kept: Callable[[], int] = lambda: 0,
        limits: HostLimits | None = None,
    ) -> None:
        self.path = Path(path).absolute()
        self._borders = borders
        self._remedy = remedy
        self._largest = largest_record_bytes
        self._begun_of = begun
        self._kept = kept
        self._limits = limits
        self._held: _Held | None = None

    def first_position(self, *, beginning: bool = False) -> FilePosition:
        """At the end of the live file, or at the beginning of the oldest one. Raises DbauditError."""
        try:
            files = self._files() or []
            if not files:
                # The clock of files lags behind by some milliseconds.
                return FilePosition(modified_us=now_us() - 1_000_000)
            if beginning:
                return self._at_start(files[0])
            if not files[-1].live:
                return FilePosition(name=files[-1].name, modified_us=files[-1].modified_us + 1)
            at_start = self._at_start(files[-1])
            held = self._open(files[-1])
            if held is None:
                return at_start
            return self._moved(at_start, held, self._last_border(held))
        except OSError as error:
            raise self._unreadable(error) from None

    def read(self, position: FilePosition, limit_bytes: int) -> Portion:
        """The whole records after ``position``, about ``limit_bytes`` of them at most.

        A single record longer than that is given whole. Raises ConfigurationError where the files cannot be
        read or have no order, TransientError where the disk fails.
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
        return rotated_files(self.path, self._begun if self._begun_of else None, self._limits)

    def _begun(self, file: RotatedFile) -> str:
        return self._begun_of(self._beginning(file)) if self._begun_of else ""

    def _beginning(self, file: RotatedFile) -> bytes:
        """The first bytes of a file that is not to be held open; empty where another file has the name."""
        try:
            descriptor = open_local(self.path.with_name(file.name), self._limits)
        except FileNotFoundError:
            return b""
        try:
            status = os.fstat(descriptor)
            same = stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) == file.identity
            return os.pread(descriptor, _BEGINNING_BYTES, 0) if same else b""
        finally:
            os.close(descriptor)

    def _at_start(self, file: RotatedFile) -> FilePosition:
        beginning = self._beginning(file)
        head, head_bytes = head_of(beginning[:HEAD_BYTES], self._borders)
        return FilePosition(
            name=file.name,
            device=file.device,
            inode=file.inode,
            head=head,
            head_bytes=head_bytes,
            size=file.size,
            modified_us=file.modified_us,
            begun=self._begun_of(beginning) if self._begun_of and head_bytes else "",
        )

    def _next(self, position: FilePosition, file: RotatedFile) -> FilePosition:
        """The beginning of a file that reading goes on with after ``position``."""
        return begun_after(position, self._at_start(file), str(self.path))

    def _open(self, file: RotatedFile) -> _Held | None:
        """None where another file has the name meanwhile."""
        if self._held is not None and self._held.identity == file.identity:
            return self._held
        try:
            descriptor = open_local(self.path.with_name(file.name), self._limits)
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
            # Nothing but the inode says which an empty file is, and inodes are used again: but then other
            # files were written to meanwhile. One that was rotated empty has no place among them.
            file = alike[0] if alike else None
            if file is None:
                return None
            placed = file.live or file.size > 0
            earlier = files[: files.index(file)] if placed else []
            return None if written_since(earlier, position.modified_us + 1) else self._open(file)
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
        return Portion(start=position, after=self._next(position, files[0]), more=True)

    def _after_loss(self, position: FilePosition) -> Portion:
        files = self._files()
        if files is None:
            return Portion(start=position, after=position)
        present = next((file for file in files if file.identity == position.identity), None)
        size_now = present.size if present else None
        later = written_since(files, position.modified_us, position.begun)
        is_new_file = position.size == 0 and (not later or later[0].live)
        losses = () if is_new_file else (Loss(_REPLACED if present else _REMOVED, position, size_now),)
        if not later:
            nowhere = FilePosition(name=position.name, modified_us=position.modified_us, trail=position.trail)
            return Portion(start=position, after=nowhere, losses=losses)
        return Portion(start=position, after=self._next(position, later[0]), losses=losses, more=True)

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
        following = successor(self._files() or [], held.identity, _modified_us(held), self._kept)
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
            after=self._next(end, following.file),
            whole=not data,
            losses=(Loss(BETWEEN, end),) if following.missing else (),
            more=True,
        )

    def _moved(
        self, position: FilePosition, held: _Held, offset: int, *, aligned: bool = True
    ) -> FilePosition:
        head, head_bytes, begun = position.head, position.head_bytes, position.begun
        if not head_bytes:
            beginning = _bytes_at(held, 0, _BEGINNING_BYTES)
            head, head_bytes = head_of(beginning[:HEAD_BYTES], self._borders)
            begun = self._begun_of(beginning) if self._begun_of and head_bytes else ""
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
            begun=begun,
            aligned=aligned,
            trail=position.trail,
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


def begun_after(position: FilePosition, start: FilePosition, log: str) -> FilePosition:
    """The beginning of another file, after ``position``; ``log`` is the name of the log.

    Raises ConfigurationError where reading goes in circles.
    """
    trail = position.trail.with_file(start.head)
    if trail.is_circle:
        raise ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"Reading the files of {log} goes in circles: it came back to {start.name} again and again.",
            remedy=f"Move the old files beside {log} to another folder.",
        )
    return msgspec.structs.replace(start, trail=trail)


def head_of(beginning: bytes, borders: Borders = LINES) -> tuple[str, int]:
    """The fingerprint of a file that begins with these (at most HEAD_BYTES) bytes, and of how many of them;
    empty and 0 as long as its first record is not whole.
    """
    head_bytes = borders.first(beginning) or (HEAD_BYTES if len(beginning) >= HEAD_BYTES else 0)
    return fingerprint(beginning[:head_bytes]), head_bytes


def fingerprint(beginning: bytes) -> str:
    """Of the first bytes of a file; empty for none."""
    return hashlib.sha256(beginning).hexdigest()[:16] if beginning else ""


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
