"""Reading the file of an audit plugin from the disk of the agent's host."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engine.host_access import reading
from dbaudit.engine.local_files import FilePosition, LocalLog
from dbaudit.engines.mysql.audit_blocks import AuditBlock, Carried, own_sessions
from dbaudit.engines.mysql.audit_borders import BORDERS, AuditFormat, UnreadableFormatError, format_of
from dbaudit.engines.mysql.audit_going_on import Patience, Stamps, carried_on
from dbaudit.engines.mysql_protocol.connection import ServerConnection

SOURCE = "audit_file"
_CURSOR_VERSION = 1
_BEGINNING_BYTES = 512
_KEPT_OWN_SESSIONS = 500
_REMEDY = (
    "Run the agent on the server's host as an account of the file's group: "
    "usermod --append --groups mysql ACCOUNT_OF_THE_AGENT"
)


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where reading resumes: the cursor.

    ``own`` are open sessions of the agent, ``carried`` records (key, text) of statements that had not
    ended; ``several`` says that several records for a statement were seen.
    """

    v: int = _CURSOR_VERSION
    source: str = SOURCE
    position: FilePosition
    own: tuple[int, ...] = ()
    carried: tuple[tuple[str, str], ...] = ()
    several: bool = False

    def cursor(self) -> Cursor:
        cursor: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return cursor


def understood(cursor: Cursor) -> Place:
    """The place that a stored cursor holds. Raises ConfigurationError for one of another source."""
    place = cursors.understood(cursor, Place, _CURSOR_VERSION, "audit file")
    if place.source != SOURCE or place.position.offset < 0:
        raise cursors.not_ours("audit file")
    return place


class AuditFileReader:
    """Follows the audit file and its rotated files, chunk by chunk.

    ``local_time`` says that stamps in JSON are the server's local time; stamps in XML name their zone.
    """

    def __init__(
        self, connection: ServerConnection, path: str, *, beginning: bool, local_time: bool = False
    ) -> None:
        self._connection = connection
        self._stamps = Stamps(connection, always_local=local_time)
        self._patience = Patience(time.monotonic)
        self._path = path
        self._beginning = beginning
        self._format: AuditFormat | None = None
        self._log: LocalLog | None = None

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The whole records after ``cursor``, about ``limit_bytes`` of them at most."""
        log = self._opened()
        if cursor is None:
            place = Place(
                position=log.first_position(beginning=self._beginning),
                own=(self._connection.connection_id,),
            )
            return Chunk(records=[], cursor=place.cursor())
        place = understood(cursor)
        portion = log.read(place.position, limit_bytes)
        after = msgspec.structs.replace(place, position=portion.after)
        blocks = []
        if portion.data:
            block, goes_on = carried_on(
                self._block(portion.data, portion.start, place, whole=portion.whole),
                place.carried,
                several=place.several,
            )
            blocks = [block]
            after = msgspec.structs.replace(
                after,
                own=own_sessions(block)[-_KEPT_OWN_SESSIONS:],
                carried=goes_on.carried,
                several=goes_on.several,
            )
        elif not portion.more and self._patience.is_over(place.carried, several=place.several):
            block = self._block(b"", portion.start, place, whole=True)
            carried = tuple(Carried(*one) for one in place.carried)
            blocks = [msgspec.structs.replace(block, carried=carried)]
            after = msgspec.structs.replace(after, carried=())
        return Chunk(
            records=blocks,
            cursor=after.cursor(),
            gaps=tuple(loss.event() for loss in portion.losses),
            more=portion.more,
        )

    def acknowledge(self, cursor: Cursor) -> None:
        """The file is the server's: nothing is dropped."""

    def close(self) -> None:
        if self._log is not None:
            self._log.close()

    def _block(self, data: bytes, start: FilePosition, place: Place, *, whole: bool) -> AuditBlock:
        target = self._connection.target
        return AuditBlock(
            format=self._format or AuditFormat.JSON,
            data=data,
            head=start.head,
            offset=start.offset,
            whole=whole,
            own_user=target.username,
            own_application=target.application_name,
            own_sessions=tuple(dict.fromkeys((*place.own, self._connection.connection_id))),
            zone=self._stamps.zone(data, self._format or AuditFormat.JSON),
        )

    def _opened(self) -> LocalLog:
        """The log; its format shows only once something is written."""
        if self._log is None or self._format is None:
            limits = self._connection.target.limits
            if self._log is not None:
                self._log.close()
            self._format = read_format(self._path, limits)
            borders = BORDERS[self._format or AuditFormat.JSON]
            self._log = LocalLog(self._path, borders, remedy=_REMEDY, limits=limits)
        return self._log


def read_format(path: str, limits: HostLimits | None) -> AuditFormat | None:
    """The format of the file now; None while it is empty or away.

    Raises ConfigurationError where it cannot be read: for its rights, for what is in it, or because
    ``limits`` do not allow it.
    """
    try:
        with reading(path, limits) as file:
            return format_of(file.read(_BEGINNING_BYTES))
    except FileNotFoundError:
        return None
    except UnreadableFormatError as error:
        raise ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING, f"{path} {error}: it cannot be read.", remedy=error.remedy
        ) from None
    except OSError as error:
        raise ConfigurationError(
            ErrorCode.PERMISSION_MISSING, f"{path} cannot be read: {error.strerror}.", remedy=_REMEDY
        ) from None
