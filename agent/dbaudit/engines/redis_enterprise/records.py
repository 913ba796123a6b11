"""What reading passes to decoding: the pieces that one read of one connection returned."""

from __future__ import annotations

import msgspec

from dbaudit.engines.redis_enterprise.framing import Piece


class Known(msgspec.Struct, frozen=True, gc=False):
    """What earlier notifications said of a client's connection: when it was opened, in microseconds since the
    epoch, and the user that it logged in as. None if unknown.
    """

    opened_us: int | None
    user: str | None


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Pieces of one connection, in their order.

    ``instance`` and ``connection`` are the permanent name of the stream. ``sender`` is the address that it
    came from, ``received_us`` is when. The keys of ``known`` are indexes into ``pieces``.
    """

    instance: str
    connection: int
    sender: str
    received_us: int
    pieces: list[Piece]
    known: dict[int, Known] = {}

    def position(self, piece: Piece) -> str:
        """The position of a piece, which is its key."""
        return f"{self.instance}:{self.connection}:{piece.offset}"
