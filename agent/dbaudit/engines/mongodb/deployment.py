"""Reading all servers of a deployment, independently: one that is down or hangs does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.errors import DbauditError
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.mongodb.members import Member, Named, named_members
from dbaudit.engines.mongodb.options import Members, Options
from dbaudit.engines.mongodb.position import MemberPosition, Position, understood
from dbaudit.engines.mongodb.reading import MemberChunk, MemberReader

_log = logging.getLogger(__name__)
_PATIENCE_SECONDS = 1.0
"""How long the records of the other servers wait for a server that is slow to answer."""
_DISCOVERY_HOLDS_SECONDS = 30.0
_FIRST_PAUSE_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 60.0


class _Reading:
    """One member with its current read, and since when it fails."""

    def __init__(self, reader: MemberReader) -> None:
        self.reader = reader
        self.asked: tuple[MemberPosition | None, Future[MemberChunk]] | None = None
        self.failure: DbauditError | None = None
        self.pause_seconds = 0.0
        self.next_try = 0.0


class DeploymentReader:
    """Reads the declared server and, of a replica set, the other members."""

    def __init__(
        self, declared: Member, options: Options, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._declared = declared
        self._options = options
        self._clock = clock
        self._members: dict[str, _Reading] = {}
        self._asked_at: float | None = None
        self._pool: ThreadPoolExecutor | None = None

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """What follows ``cursor`` on every server that answers.

        Raises ConfigurationError or TransientError where none does.
        """
        self._discover_when_due()
        position = Position() if cursor is None else understood(cursor)
        share = max(1, limit_bytes // max(1, len(self._members)))
        chunks = self._read_all(position, share)
        failures = [reading.failure for reading in self._members.values() if reading.failure is not None]
        if failures and len(failures) == len(self._members):
            raise failures[0]
        members = {**position.members, **{name: chunk.after for name, chunk in chunks.items()}}
        since_us = position.since_us or min(
            (chunk.after.since_us for chunk in chunks.values() if chunk.after.since_us), default=0
        )
        after = msgspec.structs.replace(position, members=members, since_us=since_us or now_us())
        return Chunk(
            records=[record for chunk in chunks.values() for record in chunk.records],
            cursor=after.cursor(),
            gaps=tuple(gap for chunk in chunks.values() for gap in chunk.gaps),
            more=any(chunk.more for chunk in chunks.values()),
        )

    def close(self) -> None:
        """Close every connection except that of the declared member, which belongs to the session."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        for reading in self._members.values():
            reading.reader.close()

    def _read_all(self, position: Position, share: int) -> dict[str, MemberChunk]:
        if len(self._members) == 1:
            name, reading = next(iter(self._members.items()))
            reading.failure = None
            return {name: reading.reader.read(position.members.get(name), position.since_us, share)}
        pool = self._pool = self._pool or ThreadPoolExecutor(50, thread_name_prefix="mongodb")
        now = self._clock()
        for name, reading in self._members.items():
            entry = position.members.get(name)
            if reading.asked is None and now >= reading.next_try:
                future = pool.submit(reading.reader.read, entry, position.since_us, share)
                reading.asked = (entry, future)
        wait([r.asked[1] for r in self._members.values() if r.asked is not None], _PATIENCE_SECONDS)
        chunks = {}
        for name, reading in self._members.items():
            chunk = self._taken(name, reading, position.members.get(name))
            if chunk is not None:
                chunks[name] = chunk
        return chunks

    def _taken(self, name: str, reading: _Reading, entry: MemberPosition | None) -> MemberChunk | None:
        """What a member gave; None while it has not answered, or where it failed."""
        if reading.asked is None or not reading.asked[1].done():
            return None
        asked_for, future = reading.asked
        reading.asked = None
        try:
            chunk = future.result()
        except DbauditError as error:
            self._failed(name, reading, error)
            return None
        if reading.failure is not None:
            _log.info("%s is read again", name)
        reading.failure, reading.pause_seconds = None, 0.0
        # If the cursor was set back meanwhile, the same records are read again.
        return chunk if asked_for == entry else None

    def _failed(self, name: str, reading: _Reading, error: DbauditError) -> None:
        pause = min(max(_FIRST_PAUSE_SECONDS, 2 * reading.pause_seconds), _LONGEST_PAUSE_SECONDS)
        if reading.failure is None or reading.failure.code is not error.code:
            _log.warning("%s is not read: %s", name, error)
        reading.failure, reading.pause_seconds = error, pause
        reading.next_try = self._clock() + pause

    # -- which members

    def _discover_when_due(self) -> None:
        now = self._clock()
        if self._asked_at is not None and now - self._asked_at < _DISCOVERY_HOLDS_SECONDS:
            return
        named = self._named()
        self._asked_at = now
        wanted = named.members if self._options.members is Members.ALL else (named.me,)
        if set(wanted) == set(self._members):
            return
        for name in tuple(self._members):
            if name not in wanted:
                self._members.pop(name).reader.close()
        for name in wanted:
            if name not in self._members:
                member = self._declared if name == named.me else Member(self._declared.target, name)
                label = name if len(wanted) > 1 else ""
                self._members[name] = _Reading(MemberReader(member, self._options, label))

    def _named(self) -> Named:
        """The members as the declared one names them; if it is down, as it named them before."""
        try:
            return named_members(self._declared)
        except DbauditError:
            self._declared.drop()
            if len(self._members) < 2:
                raise
        me = next((n for n, r in self._members.items() if r.reader.member is self._declared), "")
        return Named(me, tuple(self._members))
