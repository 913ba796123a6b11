"""Declarations of one server that an agent collects read its source once, and hinder each other never."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from dbaudit.agent.sharing import Member, Shared, SharedReads
from dbaudit.core.database import AuditOptions, Database, Scope, SslMode, Target
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.secret import Secret
from dbaudit.engine import Chunk, Decoded

from tests.agent.conftest import Installation
from tests.agent.unruly import Hanging, raising

PLACE = {"host": "server.example.com", "port": 1}
PLAIN = AuditOptions(mask_sensitive_data=False)
NAMES = ("shop", "hr", "stock")
TARGET = Target(
    database_id="db_1",
    host="server.example.com",
    port=1,
    database="shop",
    username="reader",
    password=Secret("one"),
    ssl_mode=SslMode.DISABLE,
)


def ran(database: str | None, text: str) -> AuditEvent:
    return AuditEvent("", EventType.QUERY, 0, database=database, query=text)


@pytest.fixture
def declared(dbaudit: Installation) -> Iterator[dict[str, Database]]:
    """Three databases of a server, all collected and idle, by an agent that keeps its leases."""
    dbaudit.unruly.repeatable = True
    state = dbaudit.open(lease_seconds=60.0)
    found = {name: dbaudit.declare(database=name, audit_options=PLAIN, **PLACE) for name in NAMES}
    end = dbaudit.start(state, poll_interval_seconds=0.1)
    for database in found.values():
        dbaudit.wait_for_active(database)
    yield found
    dbaudit.unruly.instead.clear()
    end()
    state.close()


def test_records_are_decoded_once_for_all(dbaudit: Installation, declared: dict[str, Database]) -> None:
    dbaudit.unruly.chunk_records = 10
    dbaudit.unruly.source = [ran(NAMES[n % 3], f"select {n}") for n in range(60)]
    for place, name in enumerate(NAMES):
        expected = [f"select {n}" for n in range(place, 60, 3)]
        dbaudit.wait_until(lambda e=expected, n=name: dbaudit.queries(declared[n]) == e, name)  # type: ignore[misc]
    # Who falls behind further than what is kept reads by himself; nobody does at once.
    assert dbaudit.unruly.decoded < 2 * 60


def test_an_idle_source_is_read_as_often_as_for_one(
    dbaudit: Installation, declared: dict[str, Database]
) -> None:
    reads, began = dbaudit.unruly.reads, time.monotonic()
    dbaudit.wait_until(lambda: dbaudit.unruly.reads >= reads + 10, "ten reads")
    assert time.monotonic() - began > 10 * 0.1 * 0.8


def test_each_declaration_protects_its_own_copy(dbaudit: Installation) -> None:
    dbaudit.unruly.repeatable = True
    options = {
        "plain": AuditOptions(mask_sensitive_data=False, scope=Scope.SERVER),
        "masked": AuditOptions(scope=Scope.SERVER),
        "bare": AuditOptions(capture_queries=False, scope=Scope.SERVER),
    }
    found = {n: dbaudit.declare(database=n, audit_options=o, **PLACE) for n, o in options.items()}
    dbaudit.start()
    for database in found.values():
        dbaudit.wait_for_active(database)
    dbaudit.unruly.source = [ran(None, f"select {n}") for n in range(50)]
    for database in found.values():
        dbaudit.wait_until(lambda d=database: len(dbaudit.events(d)) == 50, "all events")  # type: ignore[misc]
    assert dbaudit.queries(found["plain"]) == [f"select {n}" for n in range(50)]
    assert set(dbaudit.queries(found["masked"])) == {"select ?"}
    assert {stored.event.query for stored in dbaudit.events(found["bare"])} == {None}


def test_one_that_hangs_in_a_read_delays_no_other(
    dbaudit: Installation, declared: dict[str, Database], hanging: Hanging
) -> None:
    first = threading.Lock()
    dbaudit.unruly.instead["read"] = lambda: hanging() if first.acquire(blocking=False) else None
    dbaudit.wait_until(hanging.entered.is_set, "hanging")
    dbaudit.unruly.source = [ran(name, f"in {name}") for name in NAMES]
    dbaudit.wait_until(
        lambda: sum(dbaudit.queries(declared[n]) == [f"in {n}"] for n in NAMES) == 2, "the two others"
    )


def test_one_that_fails_to_read_lets_the_others_read(
    dbaudit: Installation, declared: dict[str, Database]
) -> None:
    failing = threading.Lock()
    fails = raising(ValueError("wrong"))
    dbaudit.unruly.instead["read"] = lambda: fails() if failing.acquire(blocking=False) else None
    dbaudit.unruly.source = [ran(name, f"in {name}") for name in NAMES]
    for name in NAMES:
        dbaudit.wait_until(lambda n=name: dbaudit.queries(declared[n]) == [f"in {n}"], name)  # type: ignore[misc]


# -- the reads themselves


def place(number: int) -> dict[str, int]:
    return {"position": number}


def read(member: Member, number: int, *, records: int = 1) -> tuple[bool, Any]:
    """Whether the member read by itself, and what it got."""
    called = []

    def reading() -> Chunk:
        called.append(number)
        return Chunk(records=[number] * records, cursor=place(number + records))

    got = member.read(place(number), reading, lambda chunk: Decoded([]))
    return bool(called), got


def test_the_second_takes_what_the_first_read_and_nothing_is_kept_then() -> None:
    reads = SharedReads(0.1)
    one, two = (reads.join("unruly", TARGET) for _reader in range(2))
    assert read(one, 0)[0]
    by_itself, got = read(two, 0)
    assert not by_itself
    assert isinstance(got, Shared)
    assert got.chunk.cursor == place(1)
    assert read(two, 0)[0], "what all have taken is still kept"


def test_who_comes_back_to_a_place_reads_it_again() -> None:
    reads = SharedReads(0.1)
    one, _two, _three = (reads.join("unruly", TARGET) for _reader in range(3))
    assert read(one, 0)[0]
    assert read(one, 0)[0]


def test_few_reads_are_kept_for_those_behind() -> None:
    reads = SharedReads(0.1)
    one, two = (reads.join("unruly", TARGET) for _reader in range(2))
    for number in range(10):
        read(one, number)
    assert [read(two, number)[0] for number in (0, 9)] == [True, False]


def test_only_those_that_read_the_same_share() -> None:
    reads = SharedReads(0.1)
    one = reads.join("unruly", TARGET)
    other: dict[str, Any] = {"password": Secret("two"), "port": 2, "options": {"a": 1}, "username": "x"}
    for field, value in other.items():
        assert reads.join("unruly", msgspec.structs.replace(TARGET, **{field: value})).alone, field
    assert reads.join("orderly", TARGET).alone
    assert one.alone
    second = reads.join("unruly", msgspec.structs.replace(TARGET, database="hr", database_id="db_2"))
    assert not one.alone
    second.leave()
    assert one.alone
