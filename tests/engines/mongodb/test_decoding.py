"""Decoders on recorded records: the audit log of Enterprise and Percona (from their documentation), and lines
of servers that could not be had (7.0 and later), beside any bytes at all.
"""

import json
import random
from pathlib import Path

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent
from dbaudit.engine import EventType, Outcome
from dbaudit.engines.mongodb import audit_files
from dbaudit.engines.mongodb.cut_lines import mended
from dbaudit.engines.mongodb.decoding import decode
from dbaudit.engines.mongodb.records import Context, FileBlock, ProfileBlock, RingBlock
from dbaudit.testing.mutation import mutate_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

LOGIN = (
    b'{"atype":"authenticate","ts":{"$date":"2025-02-03T10:15:09.004+00:00"},"uuid":{"$binary":'
    b'"3q2+7wAAQACAAAAAAAAAAQ==","$type":"04"},"local":{"ip":"10.0.0.5","port":27017},"remote":{"ip":"10.0.0.9",'
    b'"port":40112},"users":[],"roles":[],"param":{"user":"bob","db":"admin","mechanism":"SCRAM-SHA-256"},'
    b'"result":18}'
)
CHECK = (
    b'{"atype":"authCheck","ts":{"$date":"2025-02-03T10:16:00.100+00:00"},"uuid":{"$binary":'
    b'"3q2+7wAAQACAAAAAAAAAAg==","$type":"04"},"local":{"ip":"10.0.0.5","port":27017},"remote":{"ip":"10.0.0.7",'
    b'"port":51514},"users":[{"user":"app","db":"shop"}],"roles":[{"role":"read","db":"shop"}],"param":'
    b'{"command":"find","ns":"shop.t","args":{"find":"t","filter":{"id":1},"lsid":{"id":{"$uuid":"7e69"}}}},'
    b'"result":0}'
)
PERCONA = (
    b'{"atype":"createUser","ts":{"$date":"2024-10-15T15:30:22.139-0400"},"local":{"host":"localhost","port":1},'
    b'"remote":{"ip":"127.0.0.1","port":34216},"users":[{"user":"root","db":"admin"}],"roles":[],'
    b'"params":{"user":"eve","db":"shop","roles":[{"role":"read","db":"shop"}]},"result":0}'
)
OCSF_LOGIN = {
    "activity_id": 1,
    "category_uid": 3,
    "class_uid": 3002,
    "time": 1710715316123,
    "severity_id": 1,
    "type_uid": 300201,
    "metadata": {"correlation_uid": "20ec4769-984d-445c-aea7-da0429da9122", "product": "MongoDB Server"},
    "actor": {"user": {"type_id": 1, "name": "admin.root", "groups": [{"name": "admin.root"}]}},
    "src_endpoint": {"ip": "10.0.0.9", "port": 56692},
    "user": {"type_id": 1, "name": "admin.root"},
    "auth_protocol": "SCRAM-SHA-256",
    "unmapped": {"atype": "authenticate"},
}
OCSF_CHECK = {
    "activity_id": 0,
    "category_uid": 6,
    "class_uid": 6003,
    "time": 1710715315002,
    "type_uid": 600300,
    "actor": {},
    "src_endpoint": {"ip": "10.0.0.9", "port": 45836},
    "api": {
        "operation": "getParameter",
        "request": {"uid": "admin"},
        "response": {"code": 13, "error": "Unauthorized"},
    },
}
SEVEN = (
    (
        '{"t":{"$date":"2025-02-03T10:15:00.101+00:00"},"s":"I","c":"NETWORK","id":22943,"svc":"S",'
        '"ctx":"listener","msg":"Accepted","attr":{"remote":"10.0.0.7:51514","lb":false,'
        '"uuid":{"uuid":{"$uuid":"7e695042-6f70-47d9-aac4-ddff1237e0f0"}},"connectionId":12,"n":3}}'
    ),
    (
        '{"t":{"$date":"2025-02-03T10:15:00.140+00:00"},"s":"I","c":"ACCESS","id":5286306,"ctx":"conn12",'
        '"msg":"Success","attr":{"client":"10.0.0.7:51514","isSpeculative":true,"mechanism":'
        '"SCRAM-SHA-256","user":"app","db":"shop","result":0,"metrics":{},"extraInfo":{}}}'
    ),
    (
        '{"t":{"$date":"2025-02-03T10:15:00.150+00:00"},"s":"I","c":"ACCESS","id":5286307,"ctx":"conn13",'
        '"msg":"Failed","attr":{"client":"10.0.0.8:51515","mechanism":"SCRAM-SHA-1","user":"bob",'
        '"db":"admin","error":"AuthenticationFailed: no","result":18}}'
    ),
    (
        '{"t":{"$date":"2025-02-03T10:15:01.000+00:00"},"s":"I","c":"NETWORK","id":22944,"ctx":"conn12",'
        '"msg":"Ended","attr":{"remote":"10.0.0.7:51514","connectionId":12,"n":2}}'
    ),
)


def audit(*lines: bytes, **context: object) -> list[AuditEvent]:
    block = FileBlock(
        context=Context(**context),  # type: ignore[arg-type]
        audit=True,
        source="audit",
        offset=0,
        data=b"\n".join(lines) + b"\n",
    )
    decoded = decode([block])
    assert decoded.rejected == []
    return decoded.events


def test_refused_login_of_the_audit_log() -> None:
    (event,) = audit(LOGIN)
    assert event.type is EventType.LOGIN_FAILED
    assert (event.user, event.database, event.error_code) == ("bob", "admin", "AuthenticationFailed")
    assert (event.source_ip, event.source_port) == ("10.0.0.9", 40112)
    assert event.session_id == "deadbeef-0000-4000-8000-000000000001"


def test_statement_of_the_audit_log_without_what_the_driver_adds() -> None:
    (event,) = audit(CHECK)
    assert event.query == '{"find":"t","filter":{"id":1}}'
    assert (event.user, event.operation, event.objects) == ("app", "find", ("shop.t",))
    assert event.outcome is Outcome.SUCCESS


def test_record_of_percona_with_the_zone_of_the_server() -> None:
    (event,) = audit(PERCONA)
    assert (event.user, event.operation, event.command_class) == ("root", "createUser", "ROLE")
    assert event.time_us == 1729020622139000
    assert '"user":"eve"' in (event.query or "")


def test_login_of_ocsf_succeeded_where_the_actor_is_its_user() -> None:
    refused = {**OCSF_LOGIN, "actor": {}}
    events = audit(*(json.dumps(record).encode() for record in (OCSF_LOGIN, refused, OCSF_CHECK)))
    assert [event.type for event in events] == [
        EventType.LOGIN_SUCCESS,
        EventType.LOGIN_FAILED,
        EventType.QUERY,
    ]
    assert [event.user for event in events] == ["root", "root", None]
    assert (events[2].operation, events[2].error_code) == ("getParameter", "Unauthorized")


def test_agents_own_records_are_left_out_and_its_refused_logins_are_not() -> None:
    own = {"own_user": "app", "own_ip": "10.0.0.7"}
    assert audit(CHECK, **own) == []
    assert len(audit(LOGIN, own_user="bob", own_ip="10.0.0.9")) == 1
    assert len(audit(CHECK, own_user="app", own_ip="10.0.0.8")) == 1


def test_two_mechanisms_of_one_attempt_are_one_failure() -> None:
    other = LOGIN.replace(b"SHA-256", b"SHA-1").replace(b":09.004", b":09.009")
    assert len(audit(LOGIN, other)) == 1
    assert len(audit(LOGIN, other.replace(b"bob", b"eve"))) == 2


def test_lines_of_later_servers() -> None:
    block = RingBlock(context=Context(), source="ring", first=7, lines=list(SEVEN))
    events = decode([block]).events
    assert [(e.type, e.user, e.session_id) for e in events] == [
        (EventType.CONNECTION, None, "conn12"),
        (EventType.LOGIN_SUCCESS, "app", "conn12"),
        (EventType.LOGIN_FAILED, "bob", "conn13"),
        (EventType.DISCONNECT, "app", "conn12"),
    ]
    assert events[3].duration_ms == 899


def test_line_that_getlog_has_cut_is_told_with_what_is_left() -> None:
    line = (
        '{"t":{"$date":"2025-02-03T10:15:00.101+00:00"},"s":"I","c":"COMMAND","id":51803,"ctx":"conn5",'
        '"msg":"Slow query","attr":{"type":"command","ns":"shop.t","appName":"shop","command":{"find":"t",'
        f'"filter":{{"a":"{"x" * 2000}"}}}},"durationMillis":3}}}}'
    )[:1024]
    (event,) = decode([RingBlock(context=Context(), source="r", first=1, lines=[line])]).events
    assert (event.operation, event.objects, event.application) == ("find", ("shop.t",), "shop")
    assert (event.query or "").startswith('{"find":"t","filter":{"a":"xxx')
    assert (event.detail or {})["truncated"] is True


@pytest.mark.parametrize(
    ("beginning", "word"),
    [
        (b"\xe5\x00\x00\x00\x02atype\x00\r\x00\x00\x00authenticate\x00", "BSON"),
        (b'{"ts":{"$date":"2025"},"version":"0.0","compressionMode":"zstd"}\n', "compressed"),
    ],
)
def test_audit_log_that_is_no_plain_json_is_refused(tmp_path: Path, beginning: bytes, word: str) -> None:
    path = tmp_path / "audit.log"
    path.write_bytes(beginning)
    with pytest.raises(ConfigurationError) as raised:
        audit_files.check(path, None)
    assert raised.value.code is ErrorCode.AUDIT_SOURCE_MISSING
    assert word in raised.value.message
    assert raised.value.remedy


RECORDS = (LOGIN, CHECK, PERCONA, *(json.dumps(r).encode() for r in (OCSF_LOGIN, OCSF_CHECK)))


@settings(max_examples=100, deadline=None)
@given(st.integers(), st.booleans())
def test_no_bytes_stop_a_decoder_and_each_line_is_told_or_put_aside(seed: int, in_audit_log: bool) -> None:
    chance = random.Random(seed)
    lines = RECORDS if in_audit_log else tuple(line.encode() for line in SEVEN)
    changed = [mutate_bytes(chance.choice(lines), chance).replace(b"\n", b" ") for _each in range(5)]
    good = lines[1]
    data = b"\n".join([*changed, good]) + b"\n"
    block = FileBlock(context=Context(), audit=in_audit_log, source="s", offset=0, data=data)
    decoded = decode([block])
    position = f"s:{len(data) - len(good) - 1}"
    assert any(event.key == position for event in decoded.events)
    if in_audit_log:
        # A failed log-in that is told again by another mechanism is the only line that is neither.
        written = sum(1 for line in changed if line.strip()) + 1
        told_once = len({e.key for e in decoded.events}) + len(decoded.rejected)
        assert written - 1 <= told_once <= written


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=1200))
def test_any_bytes_are_put_aside(data: bytes, line: str) -> None:
    blocks = [
        ProfileBlock(context=Context(), database="d", documents=[(1, data)]),
        RingBlock(context=Context(), source="r", first=1, lines=[line, line.ljust(1024, "x")]),
        FileBlock(context=Context(), audit=True, source="a", offset=0, data=data),
        FileBlock(context=Context(), audit=False, source="l", offset=0, data=data),
    ]
    decoded = decode(blocks)
    assert all(rejected.reason for rejected in decoded.rejected)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_cut_json_is_mended_wherever_it_was_cut(value: object) -> None:
    text = json.dumps({"first": 1, "value": value})
    for end in range(len('{"first": 1,'), len(text)):
        assert json.loads(mended(text[:end]))["first"] == 1
