"""Any bytes in the source: no crash, no stop, and what is not understood is put aside and counted."""

from __future__ import annotations

import os
import random
from typing import Any

import msgspec
import pytest

from dbaudit.core.clock import format_us
from dbaudit.engine import AuditEvent, Capability, Decoded, EventType, Rejected
from dbaudit.testing.collecting import Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.mutation import mutate_bytes
from dbaudit.testing.suite.collecting import marks

_MORE = "DBAUDIT_MUTATIONS"
"""The variable by which a long run asks for more mutated records than the author does."""
_SEED = 20261122
_GARBAGE = (
    b"\x00\xff\xfe garbage \xc3( \xed\xa0\x80 {[<'\"\\\n",
    b"{}\n",
    b"[[[[[[[[[[[[[[[[[[[[[[\n",
    b",,,,,,,,,,,,,,,,,,,,,,,,,\n",
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>\n",
)


class HostileChecks:
    """The decoder on mutated records, and the reader on bytes that are no record."""

    def test_decoding_is_pure(self, monitored: Monitored) -> None:
        records = _recorded(monitored)
        first, second = monitored.engine.decode(records), monitored.engine.decode(records)
        assert first == second
        assert monitored.engine.decode([]) == Decoded([])

    def test_mutated_records_never_stop_the_decoder(self, monitored: Monitored) -> None:
        records = _recorded(monitored)
        chance = random.Random(_SEED)  # noqa: S311  # the same mutations each time

        def mutate(data: bytes) -> bytes:
            return mutate_bytes(data, chance)

        for _each in range(int(os.environ.get(_MORE, monitored.mutations))):
            whole = list(records)
            place = chance.randrange(len(whole))
            whole[place] = monitored.mutated(whole[place], mutate, chance)
            try:
                decoded = monitored.engine.decode(whole)
            except Exception as error:
                error.add_note(f"the mutated record is {whole[place]!r}")
                raise
            for event in decoded.events:
                _check_event(event)
            for rejected in decoded.rejected:
                _check_rejected(rejected)
            for name, number in decoded.left_out.items():
                assert isinstance(name, str)
                assert isinstance(number, int)
                assert not isinstance(number, bool)
                assert number > 0

    def test_bytes_that_are_no_record_are_put_aside_and_the_stream_goes_on(
        self, monitored: Monitored
    ) -> None:
        if Capability.QUERIES not in monitored.engine.capabilities:
            pytest.skip("the engine has not the capability queries")
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                for garbage, mark in zip(_GARBAGE, marks(len(_GARBAGE)), strict=True):
                    before = len(reading.rejected)
                    monitored.write_hostile(garbage)
                    reading.until_query(visitor.run(mark))
                    assert len(reading.rejected) > before, f"{garbage!r} was not counted"
            finally:
                visitor.leave()
            positions = [rejected.position for rejected in reading.rejected]
            assert len(set(positions)) == len(positions)
            for rejected in reading.rejected:
                _check_rejected(rejected)


def _recorded(monitored: Monitored) -> list[Any]:
    """Native records, of the author or of a few things that are made to happen."""
    given = monitored.records()
    if given:
        return given
    with Collecting(monitored) as reading:
        visitor = monitored.visit()
        run = [visitor.run(mark) for mark in marks(3)]
        visitor.leave()
        if Capability.QUERIES in monitored.engine.capabilities:
            reading.until_query(run[-1])
        else:
            reading.until(lambda: reading.events, "any event")
        return reading.records


def _check_event(event: AuditEvent) -> None:
    assert isinstance(event.key, str)
    assert event.key
    assert isinstance(event.type, EventType)
    assert isinstance(event.time_us, int)
    assert format_us(event.time_us), "a time that can be shown"
    msgspec.json.encode(event)
    for number in (event.source_port, event.rows_affected):
        assert number is None or isinstance(number, int)


def _check_rejected(rejected: Rejected) -> None:
    assert rejected.position
    assert isinstance(rejected.raw, bytes)
    assert rejected.reason
    assert "\n" not in rejected.reason
