"""Random files as Percona's audit_log_filter writes them, cut anywhere, and what was written into them."""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engines.mysql.audit_blocks import AuditBlock, decode
from dbaudit.engines.mysql.audit_borders import BORDERS, AuditFormat
from dbaudit.engines.mysql.audit_going_on import carried_on

SEEDS = 60
WORDS = ("timestamp", "id", "{", "}", "[", "]", ",", '"', "\\", "\n", "é", "null", '{"timestamp":', "/*")


def read(
    data: bytes, file_format: AuditFormat, chance: random.Random, first: int = 1
) -> tuple[list[AuditEvent], list[Rejected]]:
    """What a reader makes of a file that grows by random pieces, the first one of so many bytes at least."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    carried: tuple[tuple[str, str], ...] = ()
    several = False
    begin = end = 0
    while end < len(data):
        end = min(len(data), max(first, end + chance.randrange(1, 600)))
        whole = BORDERS[file_format].last(data[begin:end])
        if whole:
            part = AuditBlock(format=file_format, data=data[begin : begin + whole], head="h", offset=begin)
            block, goes_on = carried_on(part, carried, several=several)
            carried, several = goes_on
            decoded = decode([block])
            events += decoded.events
            rejected += decoded.rejected
            begin += whole
    return events, rejected


def text(chance: random.Random) -> str:
    return "".join(chance.choice(WORDS) for _each in range(chance.randrange(6)))


def element(chance: random.Random, number: int) -> dict[str, Any]:
    """With names and texts that read as another element."""
    kind, event = chance.choice([("general", "status"), ("connection", "connect"), ("audit", "startup")])
    made: dict[str, Any] = {"timestamp": "2025-02-03 10:15:00", "id": number, "class": kind, "event": event}
    made |= {"connection_id": number % 5, "login": {"user": "app" + text(chance), "ip": "10.0.0.7"}}
    if kind == "general":
        made["general_data"] = {"command": "Query", "query": f"{text(chance)} q", "status": 0}
    elif kind == "connection":
        made["connection_data"] = {"status": 0, "db": text(chance)}
        made["connection_attributes"] = {"timestamp": text(chance), "id": "{", text(chance): text(chance)}
    else:
        made["startup_data"] = {"args": [text(chance) for _each in range(chance.randrange(4))]}
    return made


@pytest.mark.parametrize("seed", range(SEEDS))
def test_elements_of_any_layout_are_all_found_and_a_cut_one_is_put_aside(seed: int) -> None:
    chance = random.Random(seed)
    indent, ascii_only = chance.choice([None, None, 0, 1, 2, 4]), chance.random() < 0.5
    written = [
        json.dumps(element(chance, n), indent=indent, ensure_ascii=ascii_only)
        for n in range(1, chance.randrange(3, 9))
    ]
    wanted = [
        event.key
        for one in written
        for event in decode([AuditBlock(format=AuditFormat.JSON, data=one.encode())]).events
    ]
    lines = [f"{one}{chance.choice([',', ''])}\n" for one in written]
    cut = chance.random() < 0.5
    if cut:
        other = json.dumps(element(chance, 50), indent=indent, ensure_ascii=ascii_only)
        lines.insert(chance.randrange(len(lines)), f"{other[: chance.randrange(14, len(other))]}\n[\n")
    events, rejected = read(f"[\n{''.join(lines)}]\n".encode(), AuditFormat.JSON, chance)
    assert [event.key for event in events] == wanted
    assert bool(rejected) == cut


class Ran(NamedTuple):
    """A statement: how it ended, whether it was parsed, and whether another one was sent together with it."""

    session: int
    query: str
    code: int = 0
    parsed: bool = True
    more: bool = False
    handled: bool = False


WARM_UP = Ran(9, "select 'first'")


def statements(chance: random.Random, session: int) -> Iterator[Ran]:
    """Of one session; few texts, so that they come again, with another end."""
    for _each in range(chance.randrange(2, 12)):
        query = f"select {chance.randrange(3)}"
        kind = chance.randrange(8)
        if kind == 0:
            yield Ran(session, query, 1064, parsed=False)
        elif kind in (1, 2):
            yield Ran(session, query, 1062)
        elif kind == 3:
            yield Ran(session, f"{query};", more=True)
            yield Ran(session, f"{query} + 1")
        elif kind == 4:
            yield Ran(session, query, handled=True)
        else:
            yield Ran(session, query)


def phases(ran: Ran) -> Iterator[tuple[str, int]]:
    """The records of a statement, in the order in which the server tells its audit plugins."""
    if ran.parsed:
        yield "log", 0
    if ran.code or ran.handled:
        yield "error", ran.code or 1062
    if not (ran.code or ran.more):
        yield "result", 0
    yield "status", ran.code


def as_json(ran: Ran, phase: str, status: int, number: int) -> str:
    made = {"timestamp": "2025-02-03 10:15:00", "id": number, "class": "general", "event": phase}
    data = {"command": "Query", "sql_command": "select", "query": ran.query, "status": status}
    return f"  {json.dumps({**made, 'connection_id': ran.session, 'general_data': data}, indent=2)},\n"


def _as_xml(name: str, ran: Ran, status: int) -> str:
    return (
        f"  <AUDIT_RECORD>\n    <NAME>{name}</NAME>\n    <TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>\n"
        f"    <CONNECTION_ID>{ran.session}</CONNECTION_ID>\n    <SQLTEXT>{ran.query}</SQLTEXT>\n"
        f"    <STATUS>{status}</STATUS>\n  </AUDIT_RECORD>\n"
    )


def as_plugins_xml(ran: Ran, phase: str, status: int, number: int) -> str:
    return _as_xml({"error": f"Error {number}", "result": ""}.get(phase, "Query"), ran, status)


def as_components_xml(ran: Ran, phase: str, status: int, _number: int) -> str:
    """With the records of the class `command`, which show that there are several of the others."""
    start = (
        "  <AUDIT_RECORD>\n    <NAME>Command Start</NAME>\n    <TIMESTAMP>2025-02-03T10:15:00</TIMESTAMP>\n"
        f"    <CONNECTION_ID>{ran.session}</CONNECTION_ID>\n  </AUDIT_RECORD>\n"
    )
    return (start if phase == "log" else "") + _as_xml("Query", ran, status)


WRITERS = {
    as_json: (AuditFormat.JSON, "[\n"),
    as_plugins_xml: (AuditFormat.XML, '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n'),
    as_components_xml: (AuditFormat.XML, '<?xml version="1.0" encoding="utf-8"?>\n<AUDIT>\n'),
}


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("seed", range(SEEDS // 3))
def test_every_statement_is_one_event_with_its_own_outcome(write: Any, seed: int) -> None:
    chance = random.Random(seed)
    file_format, file = WRITERS[write]
    # In XML nothing but such records show that there are several for a statement.
    file += "".join(write(WARM_UP, *phase, 0) for phase in phases(WARM_UP))
    first = len(file)
    sessions = [
        [(ran, *phase) for ran in statements(chance, n) for phase in phases(ran)] for n in range(1, 5)
    ]
    done: list[Ran] = []
    for number in range(sum(map(len, sessions))):
        ran, phase, status = chance.choice([session for session in sessions if session]).pop(0)
        file += write(ran, phase, status, number)
        if phase == "status":
            done.append(ran)
    events, rejected = read(file.encode(), file_format, chance, first)
    assert rejected == []
    for session in range(1, 5):
        assert [(e.query, e.error_code) for e in events if e.session_id == str(session)] == [
            (ran.query, str(ran.code) if ran.code else None) for ran in done if ran.session == session
        ]
