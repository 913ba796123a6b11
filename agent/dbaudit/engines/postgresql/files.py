"""The server's log files: read over the connection, or from the disk of the same host."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Protocol

import msgspec

from dbaudit.core.clock import to_us
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.records import LogFileFormat
from dbaudit.engines.postgresql.settings import LogSettings

HEAD_BYTES = 256
_SUFFIX = {LogFileFormat.CSVLOG: ".csv", LogFileFormat.JSONLOG: ".json"}


class LogFile(msgspec.Struct, frozen=True):
    """A log file as it is listed; ``modified_us`` is when it was last written, to the second at best."""

    name: str
    size: int
    modified_us: int


class Portion(msgspec.Struct, frozen=True):
    """A part of a log file: the bytes asked for, the first bytes of the file, its size, and whether the
    server still writes to it.
    """

    data: bytes
    head: bytes
    size: int
    current: bool


class LogFiles(Protocol):
    """Where the log files are."""

    def listing(self) -> list[LogFile]:
        """The files of the format that is read, oldest first."""

    def current(self) -> str | None:
        """The name of the file that the server writes to; None when there is none."""

    def read(self, name: str, offset: int, length: int) -> Portion | None:
        """A part of a file; None when the file is not there."""


class RemoteLogFiles:
    """Log files through pg_read_binary_file and its sisters.

    The text variant, pg_read_file, fails where a chunk ends inside a letter of several bytes.
    """

    def __init__(
        self, connection: ServerConnection, settings: LogSettings, log_format: LogFileFormat
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._format = log_format

    def listing(self) -> list[LogFile]:
        rows = self._connection.rows("SELECT name, size, modification FROM pg_ls_logdir()")
        files = [LogFile(name, size, to_us(modified)) for name, size, modified in rows]
        return _in_order(files, self._format)

    def current(self) -> str | None:
        path = self._connection.value("SELECT pg_current_logfile(%s)", [self._format.value])
        return None if path is None else posixpath.basename(path)

    def read(self, name: str, offset: int, length: int) -> Portion | None:
        path = self._settings.path(name)
        # In this order: once the server writes to another file, this one is complete.
        current, size, head, data = self._connection.row(
            "SELECT pg_current_logfile(%s), (pg_stat_file(%s, true)).size,"
            " pg_read_binary_file(%s, 0, %s, true), pg_read_binary_file(%s, %s, %s, true)",
            [self._format.value, path, path, HEAD_BYTES, path, offset, length],
            binary=True,
        )
        if size is None or head is None or data is None:
            return None
        return Portion(bytes(data), bytes(head), size, current is None or posixpath.basename(current) == name)


class LocalLogFiles:
    """Log files on the disk of this host: they cost the server nothing."""

    def __init__(self, directory: str, log_format: LogFileFormat) -> None:
        self._directory = Path(directory)
        self._format = log_format

    def listing(self) -> list[LogFile]:
        files = []
        try:
            for entry in os.scandir(self._directory):
                if entry.is_file():
                    status = entry.stat()
                    files.append(LogFile(entry.name, status.st_size, status.st_mtime_ns // 1000))
        except OSError as error:
            raise self._unreadable(error) from None
        return _in_order(files, self._format)

    def current(self) -> str | None:
        files = self.listing()
        return files[-1].name if files else None

    def read(self, name: str, offset: int, length: int) -> Portion | None:
        current = self.current()
        try:
            descriptor = os.open(self._directory / name, os.O_RDONLY)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from None
        try:
            head = os.pread(descriptor, HEAD_BYTES, 0)
            data = os.pread(descriptor, length, offset)
            return Portion(data, head, os.fstat(descriptor).st_size, current in (name, None))
        except OSError as error:
            raise self._unreadable(error) from None
        finally:
            os.close(descriptor)

    def _unreadable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING,
            f"The log files in {self._directory} cannot be read: {error.strerror}.",
            remedy="Set log_file_mode = 0640 on the server and put the agent's user into the server's group, "
            "or use log_source: remote.",
        )


def _in_order(files: list[LogFile], log_format: LogFileFormat) -> list[LogFile]:
    suffix = _SUFFIX[log_format]
    return sorted((f for f in files if f.name.endswith(suffix)), key=lambda f: (f.modified_us, f.name))
