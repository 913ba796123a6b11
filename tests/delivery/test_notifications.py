"""The notifications, byte for byte, and that the engine for them reads what the sender writes."""

import json
from typing import Any

import msgspec
import pytest
from dbaudit.agent.delivery.notifications import AuthStatus, connection_id, notification
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.state.deliveries import Delivery, DeliveryState

from tests.delivery.sending import Sending
from tests.engines.redis_enterprise.clusters import Collecting, target

DELIVERY = Delivery(
    database_id="db_5",
    database_no=5,
    database_name="DB1",
    host="127.0.0.1",
    port=12635,
    sent_seq=0,
    confirmed_seq=0,
    sent_total=0,
    reconnects_total=0,
    expired_total=0,
    state=DeliveryState.CONNECTED,
    since_us=0,
    node_id=None,
    revision=None,
    error_code=None,
    error=None,
    updated_at_us=0,
)
ID = connection_id("db_5", "s1")


def event(kind: EventType, **fields: Any) -> AuditEvent:
    given: dict[str, Any] = {
        "key": "k",
        "time_us": 1_655_821_384_999_999,
        "session_id": "s1",
        "source_ip": "127.0.0.1",
        "source_port": 39338,
    }
    return AuditEvent(type=kind, **(given | fields))


CONNECTION = (
    f'"id":{ID},"srcip":"127.0.0.1","srcp":"39338","trgip":"127.0.0.1","trgp":"12635","hname":"",'
    '"bdb_name":"DB1","bdb_uid":"db_5"'
)


def auth(status: int, user: str, identity: str) -> str:
    rest = f'"status":{status},"username":"{user}","identity":"{identity}","acl-rules":""'
    return f'{{"ts":1655821384,"action":"auth",{CONNECTION},{rest}}}'


@pytest.mark.parametrize(
    ("happened", "line"),
    [
        (event(EventType.CONNECTION), f'{{"ts":1655821384,"new_conn":{{{CONNECTION}}}}}'),
        (event(EventType.DISCONNECT), f'{{"ts":1655821384,"close_conn":{{{CONNECTION}}}}}'),
        (
            event(EventType.LOGIN_SUCCESS, user="user_one", outcome=Outcome.SUCCESS),
            auth(8, "user_one", "user:user_one"),
        ),
        (
            event(EventType.LOGIN_FAILED, user="user_one", outcome=Outcome.FAILURE),
            auth(0, "user_one", "user:user_one"),
        ),
        (
            event(EventType.LOGIN_SUCCESS, user="u", detail={"method": "trust", "identity": "map"}),
            auth(2, "u", "user:map"),
        ),
    ],
    ids=["new_conn", "close_conn", "auth", "auth failed", "auth not required"],
)
def test_line_is_that_of_the_documentation(happened: AuditEvent, line: str) -> None:
    assert notification(DELIVERY, happened) == line.encode() + b"\n"


def test_statuses_are_those_of_the_documentation() -> None:
    assert {status.name: status.value for status in AuthStatus} == {
        "AUTHENTICATION_FAILED": 0,
        "AUTHENTICATION_NOT_REQUIRED": 2,
        "AUTHENTICATION_OK": 8,
    }


def test_what_is_not_known_is_an_empty_text() -> None:
    line = json.loads(
        notification(DELIVERY, event(EventType.CONNECTION, source_ip=None, source_port=None, session_id=None))
    )
    assert (line["new_conn"]["srcip"], line["new_conn"]["srcp"]) == ("", "")
    assert line["new_conn"]["id"] == connection_id("db_5", "k")


@pytest.mark.parametrize("user", ['quo"te', "new\nline", "größe", "\x00\x1f\x7f", "\u2028", "\ud7ff😀"])
def test_every_text_stays_on_one_line(user: str) -> None:
    line = notification(DELIVERY, event(EventType.LOGIN_SUCCESS, user=user))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert json.loads(line)["username"] == user


def test_ids_are_numbers_of_63_bits_that_tell_sessions_of_all_databases_apart() -> None:
    ids = {connection_id(f"db_{place}", f"s{number}") for place in range(20) for number in range(5000)}
    assert len(ids) == 100_000
    assert all(0 <= number < 1 << 63 for number in ids)
    assert max(number.bit_length() for number in ids) == 63


@pytest.mark.parametrize("protocol", ["TCP", "local"])
def test_engine_that_reads_what_the_sender_writes_reproduces_every_event(
    sending: Sending, protocol: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = target()
    if protocol == "local":
        path = str(tmp_path_factory.mktemp("socket") / "listener")
        place = msgspec.structs.replace(place, options={"protocol": "local", "socket_path": path})
    with Collecting(place) as collecting:
        if protocol == "local":
            sending.to(path)
        else:
            sending.to(place.host, place.port)
        database = sending.declare()
        sending.write(database, 3000)
        sending.start()
        collecting.until_events(3000)
    events = [
        numbered.event
        for numbered in sending.state.events.connections_after(sending.leases[0].database_no, 0, 3000)
    ]
    assert not collecting.rejected
    assert not collecting.gaps
    assert len({found.key for found in collecting.events}) == 3000
    for found, original in zip(collecting.events, events, strict=True):
        assert (found.type, found.time_us) == (original.type, original.time_us)
        assert found.session_id == str(connection_id(database.id, original.session_id or ""))
        assert (found.source_ip, found.source_port) == (original.source_ip, original.source_port)
        assert (found.database, (found.detail or {})["bdb_uid"]) == (database.name, database.id)
        if original.type == EventType.LOGIN_SUCCESS:
            assert (found.user, found.outcome) == (original.user, original.outcome)
    sessions = {original.session_id for original in events}
    assert len({found.session_id for found in collecting.events}) == len(sessions)
