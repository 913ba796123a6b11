"""Reading: from what the listener receives to chunks, each kept until it is known to be stored.

The cursor cannot make a cluster send anything again. It names the chunk that was stored last, so that a chunk
that was not stored is returned again, also by a later session. And it holds the senders' last numbers, so
that losses while no agent ran are noticed.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import Any

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.redis_enterprise.clients import Clients
from dbaudit.engines.redis_enterprise.framing import Piece, split
from dbaudit.engines.redis_enterprise.listener import Delivery, Listener
from dbaudit.engines.redis_enterprise.notifications import Glance, glance, time_us
from dbaudit.engines.redis_enterprise.records import Block, Known
from dbaudit.engines.redis_enterprise.sequences import Sequences

_CURSOR_VERSION = 1
_MORE_FROM_BYTES = 32 * 1024
"""After a read of so many bytes more has probably arrived meanwhile."""
_MOST_KEPT_BYTES = 32 * 1024 * 1024
"""At most so many bytes are received while a session closes, for the next one."""
_READ_BYTES = 1024 * 1024


class _Position(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor. ``chunk`` is the number of the last chunk that was stored of this ``instance`` of a
    reader.
    """

    v: int = _CURSOR_VERSION
    instance: str
    chunk: int
    workers: dict[str, int]


class _Waiting(msgspec.Struct, frozen=True):
    """A chunk that is not known to be stored yet, and the bytes in it."""

    number: int
    blocks: list[Block]
    gaps: tuple[AuditEvent, ...]
    cursor: dict[str, Any]
    size: int


class Reader:
    """Reads one cluster's notifications, through one listener after the other."""

    def __init__(self) -> None:
        self.instance = secrets.token_hex(6)
        self._clients = Clients()
        self._sequences = Sequences()
        self._waiting: deque[_Waiting] = deque()
        self._chunks = 0
        self._restored: tuple[str, int] | None = None

    @property
    def waiting_bytes(self) -> int:
        """How much was received that is not known to be stored."""
        return sum(waiting.size for waiting in self._waiting)

    def read(self, listener: Listener, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The chunk that was not stored yet, or what has arrived since the last one."""
        self.stored(listener, cursor)
        if not self._waiting:
            self._receive(listener, limit_bytes)
        last_words = listener.finishing and not listener.closed
        if not self._waiting:
            listener.stored()  # parts of records, which cannot be
            unchanged = self._position() if cursor is None else cursor
            return Chunk(records=[], cursor=unchanged, more=last_words)
        first = self._waiting[0]
        more = last_words or len(self._waiting) > 1 or first.size >= _MORE_FROM_BYTES
        return Chunk(records=first.blocks, cursor=first.cursor, gaps=first.gaps, more=more)

    def stored(self, listener: Listener, cursor: Cursor | None) -> None:
        """Forget what ``cursor`` says is stored. Raises ConfigurationError (`cursor_invalid`)."""
        if cursor is None:
            return
        position = _understood(cursor)
        place = (position.instance, position.chunk)
        if position.instance == self.instance:
            while self._waiting and self._waiting[0].number <= position.chunk:
                self._waiting.popleft()
            if not self._waiting:
                listener.stored()
        elif place != self._restored:
            # Another process has read meanwhile: another agent, or this one before it was restarted.
            self._sequences.restore(position.workers)
            self._restored = place

    def keep_rest(self, listener: Listener) -> None:
        """Close the listener; what had arrived is kept for the next session."""
        listener.finish()
        while not listener.closed and self.waiting_bytes < _MOST_KEPT_BYTES:
            self._receive(listener, _READ_BYTES)
        self._add(listener, listener.close())

    def _receive(self, listener: Listener, limit_bytes: int) -> None:
        if listener.closed:
            return
        listener.listen()
        deliveries = listener.receive(limit_bytes)
        if listener.finishing and (not deliveries or listener.overdue):
            deliveries += listener.close()
        self._add(listener, deliveries)

    def _add(self, listener: Listener, deliveries: list[Delivery]) -> None:
        """Make a chunk of what was delivered."""
        received_us = now_us()
        blocks: list[Block] = []
        gaps: list[AuditEvent] = []
        for delivery in deliveries:
            pieces: list[Piece] = []
            known: dict[int, Known] = {}
            for piece, seen in _seen(delivery.pieces):
                if seen is not None:
                    completing = self._clients.note(seen)
                    if completing is not None:
                        known[len(pieces)] = completing
                    if seen.audit_seq is not None:
                        gaps.extend(self._missing(listener, delivery, seen, received_us))
                pieces.append(piece)
            if pieces:
                blocks.append(
                    Block(
                        instance=listener.instance,
                        connection=delivery.connection,
                        sender=delivery.sender,
                        received_us=received_us,
                        pieces=pieces,
                        known=known,
                    )
                )
            if delivery.ended:
                self._sequences.end(delivery.connection)
            if delivery.lost_bytes:
                gaps.append(_unread(listener, delivery, received_us))
        if blocks or gaps:
            self._chunks += 1
            size = sum(len(piece.data) for block in blocks for piece in block.pieces)
            self._waiting.append(_Waiting(self._chunks, blocks, tuple(gaps), self._position(), size))

    def _missing(
        self, listener: Listener, delivery: Delivery, seen: Glance, received_us: int
    ) -> list[AuditEvent]:
        if seen.audit_worker_id is None or seen.audit_seq is None:
            return []
        at_us = time_us(seen.ts)
        missing = self._sequences.note(
            listener.instance,
            delivery.connection,
            delivery.sender,
            seen.audit_worker_id,
            seen.audit_seq,
            received_us if at_us is None else at_us,
        )
        return [] if missing is None else [missing]

    def _position(self) -> dict[str, Any]:
        position = _Position(instance=self.instance, chunk=self._chunks, workers=self._sequences.last())
        found: dict[str, Any] = msgspec.to_builtins(position)
        return found


def _seen(pieces: list[Piece]) -> list[tuple[Piece, Glance | None]]:
    """Each record with a glance at it; a piece that turns out to be several is split."""
    found: list[tuple[Piece, Glance | None]] = []
    for piece in pieces:
        seen = glance(piece.data) if piece.whole else None
        if seen is None and piece.whole and b"{" in piece.data:
            found.extend((part, glance(part.data)) for part in split(piece))
        else:
            found.append((piece, seen))
    return found


def _unread(listener: Listener, delivery: Delivery, at_us: int) -> AuditEvent:
    return gap(
        f"gap:{listener.instance}:{delivery.connection}:closed",
        at_us,
        "The agent stopped listening while more had arrived than it keeps.",
        source=delivery.sender,
        lost_bytes=delivery.lost_bytes,
        lost_records=None,
    )


def _understood(cursor: Cursor) -> _Position:
    return cursors.understood(cursor, _Position, _CURSOR_VERSION)
