"""Decoding: every documented notification, and what no documentation has, is an event or is put aside."""

from typing import Any

import msgspec
import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engine import Decoded
from dbaudit.engines.redis_enterprise.decoding import decode
from dbaudit.engines.redis_enterprise.framing import Piece
from dbaudit.engines.redis_enterprise.records import Block, Known

from tests.engines.redis_enterprise.records import (
    AUTH,
    CLOSE_CONN,
    CLOSE_CONN_82,
    EVERY_RECORD,
    FAILED_SET_82,
    GET_82,
    NEW_CONN,
    changed,
)

RECEIVED_US = 1_800_000_000_000_000


def block(*pieces: bytes, **fields: Any) -> Block:
    offset = 0
    made = []
    for data in pieces:
        made.append(Piece(offset, data, len(data)))
        offset += len(data) + 1
    return Block(
        instance="abc", connection=3, sender="10.0.0.5", received_us=RECEIVED_US, pieces=made, **fields
    )


def decoded(*pieces: bytes, **fields: Any) -> Decoded:
    return decode([block(*pieces, **fields)])


def event(record: bytes, **fields: Any) -> AuditEvent:
    found = decoded(record, **fields)
    assert not found.rejected
    (only,) = found.events
    return only


def test_new_conn_of_the_documentation() -> None:
    assert event(NEW_CONN) == AuditEvent(
        key="abc:3:0",
        type=EventType.CONNECTION,
        time_us=1655821384_000_000,
        outcome=Outcome.SUCCESS,
        database="DB1",
        session_id="2285001002",
        source_ip="127.0.0.1",
        source_port=39338,
        detail={"trgip": "127.0.0.1", "trgp": "12635", "bdb_uid": "5", "sender": "10.0.0.5"},
    )


def test_auth_of_the_documentation() -> None:
    assert event(AUTH) == AuditEvent(
        key="abc:3:0",
        type=EventType.LOGIN_SUCCESS,
        time_us=1655821384_000_000,
        outcome=Outcome.SUCCESS,
        user="user_one",
        database="DB1",
        session_id="2285001002",
        source_ip="127.0.0.1",
        source_port=39338,
        operation="AUTH",
        detail={
            "trgip": "127.0.0.1",
            "trgp": "12635",
            "bdb_uid": "5",
            "status": 2,
            "identity": "user:1",
            "acl-rules": "~* +@all",
            "auth_status": "AUTHENTICATION_NOT_REQUIRED",
            "sender": "10.0.0.5",
        },
    )


def test_close_conn_of_the_documentation() -> None:
    found = event(CLOSE_CONN)
    assert (found.type, found.session_id, found.outcome) == (EventType.DISCONNECT, "2285001002", None)
    assert (found.user, found.duration_ms) == (None, None)


def test_close_conn_has_the_duration_and_the_user_where_they_are_known() -> None:
    found = event(CLOSE_CONN_82, known={0: Known(1779874366_000_000, "default")})
    assert (found.user, found.duration_ms) == ("default", 14_000.0)
    turned_back = event(CLOSE_CONN_82, known={0: Known(1779874399_000_000, None)})
    assert turned_back.duration_ms is None


def test_command_of_the_documentation() -> None:
    found = event(GET_82, known={0: Known(None, "default")})
    assert (found.type, found.operation, found.objects) == (EventType.QUERY, "GET", ("myKey",))
    assert (found.outcome, found.error_code, found.query, found.rows_affected) == (
        Outcome.SUCCESS,
        None,
        None,
        None,
    )
    assert found.user == "default"
    assert found.detail is not None
    assert found.detail["total_keys_count"] == 1
    assert (found.detail["audit_worker_id"], found.detail["audit_seq"]) == (0, 3)


def test_failed_command_of_the_documentation() -> None:
    found = event(FAILED_SET_82)
    assert (found.operation, found.outcome, found.error_code) == ("SET", Outcome.FAILURE, "ERR")
    assert found.objects is None
    assert found.detail is not None
    assert found.detail["error"] == "ERR wrong number of arguments for 'set' command"


def test_number_of_keys_affected() -> None:
    assert event(changed(GET_82, affected_count=3)).rows_affected == 3


def test_arguments_in_the_error_of_a_command_are_not_kept() -> None:
    error = "ERR unknown command 'AUHT', with args beginning with: 'admin' 'hunter2' "
    found = event(changed(FAILED_SET_82, error=error))
    assert b"hunter2" not in msgspec.json.encode(found)
    assert found.detail is not None
    assert found.detail["error"] == "ERR unknown command 'AUHT', with args beginning with: ?"


IN_PROGRESS = {3, 5, 10}
SUCCESSFUL = {2, 7, 8}


@pytest.mark.parametrize("status", range(-1, 13))
def test_status_of_an_authentication(status: int) -> None:
    found = event(changed(AUTH, status=status))
    if status in SUCCESSFUL:
        wanted = (EventType.LOGIN_SUCCESS, Outcome.SUCCESS, None)
    elif status in IN_PROGRESS:
        wanted = (EventType.CONNECTION, None, None)
    else:
        assert found.detail is not None
        wanted = (EventType.LOGIN_FAILED, Outcome.FAILURE, found.detail["auth_status"])
    assert (found.type, found.outcome, found.error_code) == wanted
    assert found.operation == "AUTH"


@pytest.mark.parametrize(("status", "outcome"), [(9, Outcome.SUCCESS), (10, Outcome.FAILURE), (8, None)])
def test_the_same_numbers_mean_something_else_on_commands(status: int, outcome: Outcome | None) -> None:
    assert event(changed(GET_82, status=status)).outcome is outcome


@pytest.mark.parametrize("number", [6185063009002, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 80])
def test_a_connection_id_of_any_size_is_kept_exactly(number: int) -> None:
    record = changed(AUTH, id=0).replace(b'"id":0', b'"id":%d' % number)
    assert event(record).session_id == str(number)


def test_internal_connections_of_older_versions_are_connections() -> None:
    found = event(NEW_CONN.replace(b"new_conn", b"new_int_conn"))
    assert (found.type, found.session_id) == (EventType.CONNECTION, "2285001002")
    assert found.detail is not None
    assert found.detail["event"] == "new_int_conn"
    closed = event(CLOSE_CONN.replace(b"close_conn", b"close_int_conn"))
    assert closed.type is EventType.DISCONNECT


@pytest.mark.parametrize(
    "record",
    [AUTH.replace(b'"auth"', b'"acl_change"'), NEW_CONN.replace(b"new_conn", b"acl_change")],
    ids=["flat", "nested"],
)
def test_an_event_of_a_later_version_is_kept_under_its_name(record: bytes) -> None:
    found = event(record)
    assert (found.type, found.operation, found.session_id) == (EventType.QUERY, "ACL_CHANGE", "2285001002")
    assert found.detail is not None
    assert found.detail["event"] == "acl_change"


def test_fields_of_a_later_version_are_kept() -> None:
    found = event(changed(AUTH, group="cn=admins", novelty={"a": [1, None]}))
    assert found.detail is not None
    assert (found.detail["group"], found.detail["novelty"]) == ("cn=admins", {"a": [1, None]})


@pytest.mark.parametrize("port", ["", "x", "65536", "-1", "٣", None, 7.5, True, "9" * 5000])
def test_a_port_that_is_none_stays_in_the_detail(port: object) -> None:
    found = event(msgspec.json.encode(msgspec.json.decode(AUTH) | {"srcp": port}))
    assert found.source_port is None
    assert found.detail is not None
    assert found.detail["srcp"] == port


def test_types_that_differ_from_the_documentation_are_taken() -> None:
    found = event(changed(AUTH, srcp=39338, bdb_uid=5, id="2285001002", ts=1655821384.25))
    assert (found.source_port, found.session_id) == (39338, "2285001002")
    assert found.time_us == 1655821384_250_000


@pytest.mark.parametrize("ts", [None, "now", -1, True, 1e300, 10**30])
def test_without_a_sound_time_the_event_has_the_time_of_its_arrival(ts: object) -> None:
    assert event(msgspec.json.encode(msgspec.json.decode(AUTH) | {"ts": str(ts)})).time_us == RECEIVED_US
    if not isinstance(ts, int) or ts < 1 << 64:
        assert event(msgspec.json.encode(msgspec.json.decode(AUTH) | {"ts": ts})).time_us == RECEIVED_US


def test_milliseconds_are_known_from_seconds() -> None:
    assert event(changed(AUTH, ts=1655821384123)).time_us == 1655821384_123_000


def test_the_same_record_of_a_worker_has_the_same_key_over_any_connection() -> None:
    elsewhere = msgspec.structs.replace(block(GET_82), connection=9)
    assert decode([elsewhere]).events[0].key == event(GET_82).key
    other = event(changed(GET_82, audit_seq=4)).key
    assert other != event(GET_82).key


def test_records_without_numbers_have_the_key_of_their_place() -> None:
    first, second = decoded(AUTH, AUTH).events
    assert (first.key, second.key) == ("abc:3:0", f"abc:3:{len(AUTH) + 1}")


@pytest.mark.parametrize(
    "text",
    [b"user\xff_one", b"\\ud800user_one", b"user\\u0000_one", b"\xc3user_one", b"user\x01_one"],
    ids=["latin-1", "half a surrogate", "NUL", "cut UTF-8", "control character"],
)
def test_a_client_cannot_hide_behind_a_name_that_is_no_text(text: bytes) -> None:
    found = event(AUTH.replace(b"user_one", text))
    assert found.type is EventType.LOGIN_SUCCESS
    assert found.user is not None
    assert "user" in found.user
    assert found.session_id == "2285001002"


NOT_NOTIFICATIONS = {
    b"GET / HTTP/1.1": "is not JSON",
    b"{}": "is a JSON object, but no notification",
    b'{"ts":1}': "is a JSON object, but no notification",
    b'{"action":7}': "is a JSON object, but no notification",
    b"[1]": "is not a JSON object",
    b"7": "is not a JSON object",
    b'"text"': "is not a JSON object",
    b"\xff\xfe": "is not JSON",
    AUTH[:-9]: "is not JSON",
    b'{"a":' * 10_000 + b"1" + b"}" * 10_000: "is nested too deeply",
    b'{"new_conn":{"a":' + b"[" * 50 + b"]" * 50 + b"}}": "is nested too deeply",
    b'{"action":"x","a":[' + b"9" * 30 + b"]}": "holds a number that is too long",
    b'{"action":"x","a":' + b"9" * 5000 + b"}": "is not JSON",
}


@pytest.mark.parametrize("raw", NOT_NOTIFICATIONS, ids=range(len(NOT_NOTIFICATIONS)))
def test_what_is_no_notification_is_put_aside_with_its_bytes_and_the_reason(raw: bytes) -> None:
    found = decoded(AUTH, raw, AUTH)
    assert len(found.events) == 2
    (aside,) = found.rejected
    assert (aside.position, aside.raw) == (f"abc:3:{len(AUTH) + 1}", raw[:65_536])
    assert aside.reason.startswith(NOT_NOTIFICATIONS[raw])
    assert aside.reason.endswith("from 10.0.0.5")


def test_a_flood_of_nonsense_is_put_aside_as_one_and_counted() -> None:
    found = decoded(*[b"nonsense"] * 100_000, AUTH)
    assert len(found.events) == 1
    (aside,) = found.rejected
    assert aside.reason.startswith("100000 pieces in a row are no notifications; the first is not JSON")
    assert "899999 bytes, of which the first 65536 are kept" in aside.reason


def test_a_record_that_was_too_long_is_put_aside_with_its_length() -> None:
    (aside,) = decode([msgspec.structs.replace(block(), pieces=[Piece(7, b'{"ts"', 9_000_000)])]).rejected
    assert aside.position == "abc:3:7"
    assert "9000000 bytes" in aside.reason


@pytest.mark.parametrize("record", EVERY_RECORD)
def test_decoding_again_gives_the_same(record: bytes) -> None:
    assert decoded(record) == decoded(record)
