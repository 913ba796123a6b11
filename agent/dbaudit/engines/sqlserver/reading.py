"""Reading the files of every trail, each from its own position."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ErrorCode, TransientError
from dbaudit.core.event import AuditEvent
from dbaudit.engine import gap
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engine.options import StartFrom
from dbaudit.engines.sqlserver.facts import ServerFacts
from dbaudit.engines.sqlserver.files import FilesGoneError, Portion, TrailFiles
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.options import Options, Source
from dbaudit.engines.sqlserver.position import OwnSession, Position, Progress
from dbaudit.engines.sqlserver.records import Rows
from dbaudit.engines.sqlserver.splitting import whole_records
from dbaudit.engines.sqlserver.trails import Trail

_LOOK_FOR_TRAILS_SECONDS = 30.0
_WAIT_FOR_PARTS_SECONDS = 10.0
"""How long the parts of a statement that was cut in pieces are waited for."""
LONGEST_RECORD_BYTES = 64 * 1024 * 1024


class TrailReader:
    """Reads what the cursor has not seen; one trail at a time, in turn."""

    def __init__(
        self,
        facts: ServerFacts,
        files: TrailFiles,
        list_trails: Callable[[Kind], list[Trail]],
        choose_kind: Callable[[], Kind],
        options: Options,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._facts = facts
        self._files = files
        self._list_trails = list_trails
        self._choose_kind = choose_kind
        self._options = options
        self._clock = clock
        self._trails: list[Trail] = []
        self._looked_at: float | None = None
        self._look_again_at: dict[str, float] = {}
        self._waiting_since: dict[str, tuple[Position, float]] = {}
        self._turn = 0
        self._reported: set[str] = set()

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """See ``Session.read``."""
        if cursor is None:
            return self._begin()
        progress = Progress.of(cursor).joined_by(OwnSession(self._facts.session_id, self._facts.since_us))
        kind = self._kind(progress)
        self._refresh(kind)
        progress, gaps = self._reconciled(progress)
        if gaps:
            return Chunk(records=[], cursor=progress.cursor(), gaps=gaps, more=True)
        for number in range(len(self._trails)):
            trail = self._trails[(self._turn + number) % len(self._trails)]
            if self._clock() < self._look_again_at.get(trail.key, 0.0):
                continue
            chunk = self._read_trail(trail, progress, limit_bytes)
            if chunk is not None:
                # The next trail is looked at next, however much this one still has.
                self._turn = (self._turn + number + 1) % len(self._trails)
                return chunk
            self._look_again_at[trail.key] = self._clock() + self._options.poll_seconds
        return Chunk(records=[], cursor=progress.cursor())

    def _begin(self) -> Chunk:
        self._refresh(self._choose_kind())
        from_now = self._options.start_from is StartFrom.NOW
        positions = {trail.key: self._files.end(trail) if from_now else Position() for trail in self._trails}
        own = OwnSession(self._facts.session_id, self._facts.since_us)
        return Chunk(records=[], cursor=Progress(positions, [own]).cursor(), more=not from_now)

    def _kind(self, progress: Progress) -> Kind:
        """The kind of source stays the same until the options say otherwise: a right that is missing for an
        hour must not change it.
        """
        if self._options.source is not Source.AUTO:
            return Kind(self._options.source.value)
        kinds = {Kind.AUDIT if key.startswith("audit:") else Kind.EXTENDED_EVENTS for key in progress.trails}
        return kinds.pop() if len(kinds) == 1 else self._choose_kind()

    def _refresh(self, kind: Kind) -> None:
        now = self._clock()
        fresh = self._looked_at is not None and now - self._looked_at < _LOOK_FOR_TRAILS_SECONDS
        if not (fresh and self._trails and self._trails[0].kind is kind):
            self._trails = self._list_trails(kind)
            self._looked_at = now

    def _reconciled(self, progress: Progress) -> tuple[Progress, tuple[AuditEvent, ...]]:
        """New trails are read from their beginning; trails that are gone are dropped from the cursor."""
        here = {trail.key for trail in self._trails}
        kinds = {key.partition(":")[0] for key in here}
        gaps = []
        for key, position in list(progress.trails.items()):
            if key not in here:
                progress = progress.without(key)
                gaps.append(_gap(key, position, "What was read before is not recorded or not read any more."))
        for trail in self._trails:
            if trail.key not in progress.trails:
                # A trail of another source than before repeats what was read there.
                switched = bool(gaps) and not any(k.partition(":")[0] in kinds for k in progress.trails)
                position = self._files.end(trail) if switched else Position()
                progress = progress.moved(trail.key, position)
        return progress, tuple(gaps)

    def _read_trail(self, trail: Trail, progress: Progress, limit_bytes: int) -> Chunk | None:
        """What follows in one trail; None where nothing does."""
        position = progress.trails[trail.key]
        try:
            portion = self._files.read(trail, position, limit_bytes)
        except FilesGoneError as gone:
            return self._after_loss(trail, progress, gone)
        rows = self._whole(trail, position, portion)
        if not rows and portion.rows and portion.more:
            if limit_bytes < LONGEST_RECORD_BYTES:
                return self._read_trail(trail, progress, max(limit_bytes * 4, 65_536))
            rows = portion.rows
        new = [said for said in portion.passed_over if said not in self._reported]
        self._reported.update(new)
        lost = tuple(_gap(trail.key, position, _UNREADABLE, said=said) for said in new)
        if not rows and not lost:
            return None
        after = progress.moved(trail.key, position.behind(rows))
        records = [self._record(trail, portion, rows, after)] if rows else []
        more = portion.more or len(self._trails) > 1
        return Chunk(records=records, cursor=after.cursor(), gaps=lost, more=more)

    def _whole(self, trail: Trail, position: Position, portion: Portion) -> Sequence[Any]:
        """The rows up to a statement of which parts are missing. The missing parts are waited for, but not
        very long.
        """
        if trail.kind is not Kind.AUDIT:
            return portion.rows
        end = whole_records(portion.rows)
        if end == len(portion.rows) or portion.more:
            self._waiting_since.pop(trail.key, None)
            return portion.rows[:end]
        place = position.behind(portion.rows[:end])
        known, since = self._waiting_since.get(trail.key, (None, 0.0))
        if known != place:
            self._waiting_since[trail.key] = (place, self._clock())
        elif self._clock() - since >= _WAIT_FOR_PARTS_SECONDS:
            return portion.rows
        return portion.rows[:end]

    def _record(self, trail: Trail, portion: Portion, rows: Sequence[Any], progress: Progress) -> Rows:
        facts = self._facts
        named = trail.kind is Kind.EXTENDED_EVENTS or self._files.names_applications
        return Rows(
            kind=trail.kind,
            rows=rows,
            skipped=portion.skipped,
            actions=self._files.actions,
            own_login=facts.login,
            own_application=facts.application if named else None,
            own_sessions=progress.own,
            engine_edition=facts.engine_edition or None,
        )

    def _after_loss(self, trail: Trail, progress: Progress, gone: FilesGoneError) -> Chunk:
        """The file that was being read is gone: resume with the oldest file that is there."""
        position = progress.trails[trail.key]
        self._looked_at = None
        try:
            oldest = self._files.oldest(trail)
        except FilesGoneError:
            raise TransientError(
                ErrorCode.AUDIT_SOURCE_MISSING,
                f"The files of {trail.name!r} ({trail.pattern}) cannot be found on the server just now.",
                remedy="Look whether the folder is there and whether the server's account may read it.",
            ) from None
        lost = _gap(trail.key, position, gone.reason, goes_on_in=None if oldest is None else oldest.file)
        return Chunk(
            records=[], cursor=progress.moved(trail.key, Position()).cursor(), gaps=(lost,), more=True
        )


_UNREADABLE = "The server passed over records that it could not read."


def _gap(key: str, position: Position, reason: str, **detail: Any) -> AuditEvent:
    buffer = position.buffer
    place = f"{buffer.file}:{buffer.offset}:{position.count}" if buffer else "beginning"
    return gap(
        key=f"gap:{key}:{place}",
        time_us=now_us(),
        reason=reason,
        source=key.partition(":")[2],
        file=buffer.file if buffer else None,
        offset=buffer.offset if buffer else None,
        lost_records=None,
        **detail,
    )
