"""Reading the trails that the options name, in turn."""

from __future__ import annotations

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.options import Options, Source
from dbaudit.engines.oracle.position import Progress
from dbaudit.engines.oracle.reading import LOOK_BACK_EVERY_SECONDS, TrailReader
from dbaudit.engines.oracle.traditional import read_traditional
from dbaudit.engines.oracle.trail import read_unified

OWN_SESSION = "SELECT TO_NUMBER(SYS_CONTEXT('USERENV', 'SESSIONID')) FROM dual"
_READ = {Source.UNIFIED: read_unified, Source.TRADITIONAL: read_traditional}


class TrailsReader:
    """A reader for each trail; the one that gave something is asked last at the next call."""

    def __init__(
        self,
        connection: ServerConnection,
        options: Options,
        look_back_every_seconds: float = LOOK_BACK_EVERY_SECONDS,
    ) -> None:
        self._connection = connection
        self._readers = {
            source.value: TrailReader(connection, options, _READ[source], look_back_every_seconds)
            for source in options.source.trails
        }
        self._order = list(self._readers)
        self._own_session: int | None = None

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """See ``Session.read``."""
        progress = Progress({}) if cursor is None else Progress.of(cursor)
        if Source.TRADITIONAL.value in self._readers:
            if self._own_session is None:
                self._own_session = int(self._connection.value(OWN_SESSION))
            progress = progress.joined_by(self._own_session)
        progress, gaps = self._reconciled(progress)
        if cursor is None or gaps:
            return Chunk(records=[], cursor=progress.cursor(), gaps=gaps, more=bool(gaps))
        for name in list(self._order):
            chunk = self._readers[name].read(progress.trails[name], limit_bytes, progress.own)
            progress = progress.moved(name, chunk.cursor)
            if chunk.records or chunk.gaps or chunk.more:
                self._order.remove(name)
                self._order.append(name)
                return Chunk(
                    records=chunk.records,
                    cursor=progress.cursor(),
                    gaps=chunk.gaps,
                    more=chunk.more or len(self._order) > 1,
                )
        return Chunk(records=[], cursor=progress.cursor())

    def _reconciled(self, progress: Progress) -> tuple[Progress, tuple[AuditEvent, ...]]:
        """A trail that is new to the options begins, and one that they do not name any more is let go."""
        gaps = []
        for name, position in list(progress.trails.items()):
            if name not in self._readers:
                progress = progress.without(name)
                gaps.append(_not_read_any_more(name, position))
        for name, reader in self._readers.items():
            if name not in progress.trails:
                progress = progress.moved(name, reader.read(None, 0, progress.own).cursor)
        return progress, tuple(gaps)

    def close(self) -> None:
        """Drop the queries whose rows were not all fetched."""
        for reader in self._readers.values():
            reader.close()


def _not_read_any_more(name: str, position: Cursor) -> AuditEvent:
    return gap(
        f"source.{name}.{position['front_us']}",
        now_us(),
        f"The {name} audit trail is not read any more: the option source names another.",
        source=name,
        lost_records=None,
    )
