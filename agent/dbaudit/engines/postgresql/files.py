"""The server's log files: read over the connection, or from the disk of the same host."""

from __future__ import annotations

import errno
import os
import posixpath
import re
from collections.abc import Callable
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Protocol

import msgspec

from dbaudit.core.clock import to_us
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import listed, open_local, reading
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.records import LogFileFormat

HEAD_BYTES = 256
_SUFFIXES = {LogFileFormat.CSVLOG: ".csv", LogFileFormat.JSONLOG: ".json"}
_ESCAPE = re.compile(r"%[-_0^#EO]*[A-Za-z%]")
_STAMP_BYTES = 40
_GONE = (errno.ENOENT, errno.ESTALE)


class LogFile(msgspec.Struct, frozen=True):
    """A log file as it is listed; ``modified_us`` is when it was last written, to the second at best."""

    name: str
    size: int
    modified_us: int


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a log file: the bytes asked for, whether the file ended with them, its first bytes, its size,
    when it was last written, and whether the server still writes to it.

    ``configured`` is when the server last read its configuration, where that is known.
    """

    data: bytes
    at_end: bool
    head: bytes
    size: int
    modified_us: int
    current: bool
    configured: datetime | None = None


Stamps = dict[LogFile, bytes]
"""The time stamps of the first records of files, as far as they were needed: to be kept between listings."""


class FileNames:
    """How the files of one format are named. Those of the text log bear the names of log_filename as they
    are; None where the role may not see that setting.
    """

    def __init__(self, log_format: LogFileFormat, log_filename: str | None) -> None:
        self.format = log_format
        self._suffix = _SUFFIXES.get(log_format)
        parts = _ESCAPE.split("%a.log" if log_filename is None else log_filename)
        self._pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)

    def fit(self, name: str) -> bool:
        """Whether a file of this name is one of them."""
        if self._suffix is not None:
            return name.endswith(self._suffix)
        others = () if self.format is LogFileFormat.PGAUDIT_FILE else tuple(_SUFFIXES.values())
        return not name.endswith(others) and bool(self._pattern.fullmatch(name))


class LogFiles(Protocol):
    """Where the log files of one format are. A directory is named as log_directory names it."""

    def listing(self) -> list[LogFile]:
        """The files of the present log directory, oldest first."""

    def current(self) -> str | None:
        """The name of the file that the server writes to; None when there is none."""

    def read(self, directory: str, name: str, offset: int, length: int) -> Portion | None:
        """A part of a file; None when the file is not there."""


class RemoteLogFiles:
    """Log files through pg_read_binary_file and its sisters.

    The text variant, pg_read_file, fails where a chunk ends inside a letter of several bytes.
    """

    def __init__(
        self, connection: ServerConnection, directory: str, names: FileNames, stamps: Stamps
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._names = names
        self._stamps = stamps

    def listing(self) -> list[LogFile]:
        rows = self._connection.rows("SELECT name, size, modification FROM pg_ls_logdir()")
        files = [LogFile(name, size, to_us(modified)) for name, size, modified in rows]
        return _in_order(files, self._names, self._stamps, self._stamp)

    def current(self) -> str | None:
        path = self._connection.value("SELECT pg_current_logfile(%s)", [self._names.format.value])
        return None if path is None else posixpath.basename(path)

    def read(self, directory: str, name: str, offset: int, length: int) -> Portion | None:
        path = posixpath.join(directory, name)
        try:
            # In this order: once the server writes to another file, what is read of this one is all of it.
            current, head, data, size, modified, configured = self._connection.row(
                "SELECT pg_current_logfile(%s), pg_read_binary_file(%s, 0, %s, true),"
                " pg_read_binary_file(%s, %s, %s, true), (pg_stat_file(%s, true)).size,"
                " (pg_stat_file(%s, true)).modification, pg_conf_load_time()",
                [self._names.format.value, path, HEAD_BYTES, path, offset, length, path, path],
                binary=True,
            )
        except ConfigurationError as error:
            # A log directory outside the data directory cannot be read any more once it is another one.
            if error.code is ErrorCode.PERMISSION_MISSING and directory != self._directory:
                return None
            raise
        if size is None or head is None or data is None:
            return None
        return Portion(
            data=bytes(data),
            at_end=len(data) < length,
            head=bytes(head),
            size=max(size, offset + len(data) if data else 0),
            modified_us=to_us(modified),
            current=current == path,
            configured=configured,
        )

    def _stamp(self, name: str) -> bytes:
        path = posixpath.join(self._directory, name)
        data = self._connection.value(
            "SELECT pg_read_binary_file(%s, 0, %s, true)", [path, _STAMP_BYTES], binary=True
        )
        return _stamp_of(data or b"")


class LocalLogFiles:
    """Log files on the disk of this host: they cost the server nothing.

    ``written`` says whether the server writes this format at all; ``limits`` are what the agent allows here.
    """

    def __init__(
        self,
        path_of: Callable[[str], str],
        directory: str,
        names: FileNames,
        stamps: Stamps,
        *,
        written: bool = True,
        limits: HostLimits | None = None,
    ) -> None:
        self._stamps = stamps
        self._path_of = path_of
        self._directory = Path(path_of(directory))
        self._names = names
        self._written = written
        self._limits = limits

    def listing(self) -> list[LogFile]:
        files = []
        try:
            with listed(self._directory, self._limits) as entries:
                for entry in entries:
                    try:
                        status = entry.stat()
                    except FileNotFoundError:
                        continue  # removed meanwhile
                    if entry.is_file():
                        files.append(LogFile(entry.name, status.st_size, status.st_mtime_ns // 1000))
        except OSError as error:
            raise self._unreadable(error) from None
        return _in_order(files, self._names, self._stamps, self._stamp)

    def current(self) -> str | None:
        files = self.listing() if self._written else []
        return files[-1].name if files else None

    def read(self, directory: str, name: str, offset: int, length: int) -> Portion | None:
        try:
            descriptor = open_local(Path(self._path_of(directory), name), self._limits)
        except OSError as error:
            if error.errno in _GONE:
                return None
            raise self._unreadable(error) from None
        try:
            current = True
            data = os.pread(descriptor, length, offset)
            if len(data) < length:
                # Only at its end it matters whether the server is done with the file, and then it has to be
                # asked before the rest is read.
                present = Path(self._path_of(directory)) == self._directory
                current = present and self.current() == name
                data += os.pread(descriptor, length - len(data), offset + len(data))
            status = os.fstat(descriptor)
            return Portion(
                data=data,
                at_end=len(data) < length,
                head=os.pread(descriptor, HEAD_BYTES, 0),
                size=status.st_size,
                modified_us=status.st_mtime_ns // 1000,
                current=current,
            )
        except OSError as error:
            raise self._unreadable(error) from None
        finally:
            os.close(descriptor)

    def _stamp(self, name: str) -> bytes:
        try:
            with reading(self._directory / name, self._limits) as file:
                return _stamp_of(file.read(_STAMP_BYTES))
        except (OSError, ConfigurationError):
            return b""

    def _unreadable(self, error: OSError) -> DbauditError:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING,
            f"The log files in {self._directory} cannot be read: {error.strerror}.",
            remedy="Set log_file_mode = 0640 on the server and put the agent's user into the server's group, "
            "or use log_source: remote.",
        )


def _in_order(
    files: list[LogFile], names: FileNames, stamps: Stamps, stamp: Callable[[str], bytes]
) -> list[LogFile]:
    """By when they were last written; where that is the same second, by their first records."""
    files = sorted((f for f in files if names.fit(f.name)), key=_order)
    ordered: list[LogFile] = []
    for _modified_us, group in groupby(files, key=lambda file: file.modified_us):
        same = list(group)
        if len(same) > 1:
            for file in same:
                if not stamps.get(file):
                    stamps[file] = stamp(file.name)
            # A file without a record was made last.
            same.sort(key=lambda file: (stamps[file] or b"~", file.name))
        ordered += same
    return ordered


def _order(file: LogFile) -> tuple[int, str]:
    return file.modified_us, file.name


def _stamp_of(start: bytes) -> bytes:
    """The time stamp of a file's first record."""
    return start.removeprefix(b'{"timestamp":"')[:23]
