"""Where a read has to end so that records which explain each other are decoded together.

A record that another one may explain, such as a log-in whose failure may follow, is left for the next read
until that record is there or cannot come any more. Only the end of what was read can hold such records.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from dbaudit.engines.postgresql.decoding import Decoder
from dbaudit.engines.postgresql.framing import first_record, placed, spans, unfinished
from dbaudit.engines.postgresql.ledger import AUDITED_WITHIN_US, JOINED_WITHIN_US, OWN_LOG_IN_WITHIN_US
from dbaudit.engines.postgresql.records import LogBlock, LogFileFormat, LogRecord

_FIRST_TAIL_BYTES = 8 * 1024
_LARGEST_TAIL_BYTES = 4 * 1024 * 1024
_TOGETHER_WITHIN_US = 2 * OWN_LOG_IN_WITHIN_US


Place = tuple[int, int]
"""A record: in which block, and where in it."""


class Waiting(msgspec.Struct, frozen=True):
    """A record that waits for another, and for how long at the most."""

    place: Place
    seconds: float


class Tail(msgspec.Struct, frozen=True):
    """The end of what was read: its records that wait, those that belong together, and the zones of its time
    stamps.
    """

    waiting: list[Waiting]
    together: list[tuple[Place, Place]]
    zones: frozenset[str]

    def cut_before(self, place: Place) -> Place:
        """Where to cut so that ``place`` is behind it and nothing that belongs together is parted."""
        for first, last in self.together:
            if first < place <= last:
                place = first
        return place


def tail(blocks: Sequence[LogBlock], *, more: bool) -> Tail:
    """Examine the end of some blocks of whole records that follow each other.

    Where there is ``more`` to read at once, only what may be explained by it is looked for; a slow log-in of
    the agent is not.
    """
    largest = min(max(len(block.data) for block in blocks), _LARGEST_TAIL_BYTES)
    size = largest if any(block.format is LogFileFormat.SYSLOG for block in blocks) else _FIRST_TAIL_BYTES
    told_twice = any(block.context.told_twice for block in blocks)
    # What waits is not older than that, and what belongs together is seldom further apart than a part of it.
    within_us = (AUDITED_WITHIN_US if told_twice else JOINED_WITHIN_US) * 5 // 4
    if not more:
        within_us = max(within_us, OWN_LOG_IN_WITHIN_US)
    while True:
        examined = _Examined(blocks, size)
        # What belongs together may lie on both sides of a record that waits.
        needed_us = within_us + examined.waiting_us
        if examined.covers_us > needed_us or size >= largest:
            return examined.tail()
        size = max(2 * size, min(16 * size, size * needed_us // max(1, examined.covers_us) * 5 // 4))


class _Examined:
    """The records of the last ``size`` bytes of each block; of a syslog all, because they may lie in pieces
    anywhere.
    """

    def __init__(self, blocks: Sequence[LogBlock], size: int) -> None:
        self._decoder = Decoder()
        self._places: dict[int, Place] = {}
        self._rows: list[LogRecord] = []
        self._blocks = blocks
        for number, block in enumerate(blocks):
            whole = block.format is LogFileFormat.SYSLOG
            self._take(number, block, 0 if whole else max(0, len(block.data) - size))
        times = [time_us for row in self._rows if (time_us := self._decoder.time_us(row)) is not None]
        self._newest_us = max(times, default=0)
        self.covers_us = self._newest_us - min(times, default=0)
        self._waiting = [
            exchange
            for exchange in self._decoder.open_exchanges()
            if exchange.row is not None and exchange.until_us >= self._newest_us
        ]

    def _take(self, number: int, block: LogBlock, begin: int) -> None:
        if begin:
            found = first_record(block.format, block.data[begin:], block.context.line_prefixes)
            begin = len(block.data) if found is None else begin + found
        found_here = placed(msgspec.structs.replace(block, data=block.data[begin:]))
        rows = [row for _start, row in found_here]
        self._places |= {id(row): (number, begin + start) for start, row in found_here}
        self._decoder.take(block, rows)
        self._rows += rows

    def _unfinished(self) -> list[Waiting]:
        """The record at the end, which further lines may follow, and those on which these may cast doubt."""
        number = len(self._blocks) - 1
        rows = {place[1]: row for row in self._rows if (place := self._places[id(row)])[0] == number}
        return [
            Waiting((number, one.start), one.seconds)
            for one in unfinished(self._blocks[number], list(rows), JOINED_WITHIN_US / 1e6)
            if one.start in rows and self._is_recent(rows[one.start], one.seconds)
        ]

    def _is_recent(self, row: LogRecord, seconds: float) -> bool:
        """Whether a record is not so old that nothing can follow it; times may be whole seconds."""
        time_us = self._decoder.time_us(row)
        return time_us is None or time_us >= self._newest_us - (seconds + 1) * 1_000_000

    @property
    def waiting_us(self) -> int:
        """How long the record has waited that waits for the longest time."""
        return self._newest_us - min((one.start_us for one in self._waiting), default=self._newest_us)

    def tail(self) -> Tail:
        waiting = [
            Waiting(self._places[id(exchange.row)], (exchange.until_us - exchange.start_us) / 1e6)
            for exchange in self._waiting
        ] + self._unfinished()
        # Latest first; what is older than any wait does not delay what follows it.
        oldest_us = self._newest_us - _TOGETHER_WITHIN_US
        together = [
            (self._places[id(first)], self._places[id(last)])
            for first, last in self._decoder.joined
            if (self._decoder.time_us(first) or 0) >= oldest_us
        ]
        for number, block in enumerate(self._blocks):
            together += [((number, first), (number, last)) for first, last in spans(block)]
        return Tail(
            sorted(waiting, key=lambda one: one.place),
            sorted(together, reverse=True),
            frozenset(row.timestamp[24:] for row in self._rows),
        )
