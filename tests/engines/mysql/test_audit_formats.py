"""The audit logs of MySQL Enterprise and Percona, which no server here writes: files in their formats."""

import json
from pathlib import Path

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engine.base import Decoded
from dbaudit.engines.mysql.audit_blocks import AuditBlock, decode
from dbaudit.engines.mysql.audit_borders import BORDERS, format_of
from hypothesis import given, settings
from hypothesis import strategies as st

RECORDED = Path(__file__).parent / "recorded"
FILES = sorted(path.name for path in RECORDED.iterdir())


def decoded(data: bytes) -> Decoded:
    found = format_of(data)
    assert found is not None
    block = AuditBlock(format=found, data=data, head="h", own_user="dbaudit", own_application="dbaudit-agent")
    return decode([block])


def events(name: str) -> list[AuditEvent]:
    """All but those of connections, which are told beside each log-in."""
    result = decoded((RECORDED / name).read_bytes())
    assert result.rejected == []
    return [event for event in result.events if event.type is not EventType.CONNECTION]


def brief(event: AuditEvent) -> tuple[object, ...]:
    return event.type.value, event.user, event.query, event.error_code, event.outcome


@pytest.mark.parametrize("name", ["percona.csv", "percona_old.xml", "percona_plugin.json"])
def test_every_format_of_perconas_plugin_becomes_the_same_events(name: str) -> None:
    start, log_in, query, refused, log_out = events(name)
    assert start.operation == "AUDIT STARTUP"
    assert brief(log_in)[:2] == ("user.login_success", "app")
    assert (log_in.database, log_in.source_ip, log_in.session_id) == ("shop", "10.0.0.7", "41")
    assert query.type is EventType.QUERY
    assert (query.user, query.error_code, query.outcome) == ("app", "1146", Outcome.FAILURE)
    assert query.operation == "SELECT"
    assert (refused.type, refused.error_code) == (EventType.LOGIN_FAILED, "1045")
    assert log_out.type is EventType.DISCONNECT
    # 2025-02-03T10:15:01 UTC
    assert query.time_us == 1_738_577_701_000_000


@pytest.mark.parametrize("name", FILES)
def test_connection_is_told_before_each_log_in_whether_it_works_or_not(name: str) -> None:
    found = decoded((RECORDED / name).read_bytes()).events
    log_ins = [n for n, e in enumerate(found) if e.type.value.startswith("user.login")]
    assert log_ins
    for place in log_ins:
        connection, log_in = found[place - 1], found[place]
        assert (connection.type, connection.outcome) == (EventType.CONNECTION, Outcome.SUCCESS)
        assert (connection.session_id, f"{connection.key}:login") == (log_in.session_id, log_in.key)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("percona.csv", 'select "a,b"\nfrom nosuch'),
        ("percona_old.xml", 'select "a" from nosuch where x > \n 1'),
        ("percona_plugin.json", "select *\nfrom /* \x01 */ nosuch"),
        ("enterprise_new.xml", 'select * from t where a < 1 and b = "x&#1;"\x01\n  '),
        ("enterprise.json", "select * from orders join lines using (id) where name = 'O\"Brien\\\\'"),
    ],
)
def test_escapes_of_each_format_are_undone(name: str, text: str) -> None:
    assert text in [event.query for event in events(name)]


def test_tables_that_a_statement_touched_are_told_with_the_statement() -> None:
    (query,) = [e for e in events("enterprise.json") if e.query and e.query.startswith("select *")]
    assert query.objects == ("shop.orders", "shop.lines")
    assert query.key == "2025-02-03 10:15:00#3"
    (query,) = [e for e in events("enterprise_new.xml") if e.query]
    assert query.objects == ("shop.t",)


def test_statistics_of_a_query_are_told() -> None:
    query = next(e for e in events("enterprise.json") if e.duration_ms)
    assert (query.duration_ms, query.rows_affected) == (116.25, 3)


def test_application_of_a_log_in_is_told() -> None:
    for name in ("enterprise.json", "enterprise_new.xml"):
        log_in = next(e for e in events(name) if e.type is EventType.LOGIN_SUCCESS)
        assert (log_in.application, log_in.user, log_in.source_ip) == ("till", "app", "10.0.0.7")


def test_percona_filter_tells_users_in_their_long_form_and_statements_once() -> None:
    log_in, query = events("percona_filter.json")
    assert (log_in.user, log_in.source_host, log_in.type) == ("app", "localhost", EventType.LOGIN_SUCCESS)
    assert (query.user, query.query) == ("app", "CREATE TABLE t1 (c1 INT)")


def test_pretty_file_becomes_one_event_a_statement_whatever_names_a_client_has_for_its_attributes() -> None:
    start, log_in, insert, failed = events("percona_filter_pretty.json")
    assert (start.operation, log_in.application) == ("AUDIT STARTUP", "till")
    assert (insert.operation, insert.outcome, insert.objects) == ("INSERT", Outcome.SUCCESS, ("shop.t",))
    assert (failed.query, failed.error_code) == ("selec 1", "1064")


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
def test_layout_of_the_elements_changes_nothing(indent: int | None) -> None:
    for name in ("enterprise.json", "percona_filter.json", "percona_filter_pretty.json"):
        whole = (RECORDED / name).read_text().rstrip().removesuffix("]")
        data = json.loads(whole + "]")
        for text in (
            json.dumps(data, indent=indent),
            "\n".join(json.dumps(element, indent=indent) for element in data),
            ",".join(json.dumps(element, indent=indent) for element in data),
        ):
            found = decoded(text.encode())
            assert found.rejected == []
            assert found.events == decoded((RECORDED / name).read_bytes()).events


def test_text_that_is_no_utf8_leaves_the_other_fields_of_a_json_record_as_they_are() -> None:
    text = (
        b'{"timestamp":"2025-02-03 10:15:00","id":1,"class":"general","event":"status","connection_id":7,'
        b'"login":{"user":"app"},"general_data":{"command":"Query","query":"select \'\xe9\'","status":0}}\n'
        b'{"audit_record":{"name":"Query","record":"1_x","timestamp":"2025-02-03T10:15:00 UTC",'
        b'"connection_id":"7","status":0,"sqltext":"select \'\xff\'","user":"app"}}\n'
    )
    found = decoded(text)
    assert found.rejected == []
    assert [(e.user, e.query) for e in found.events] == [
        ("app", r"select '\xe9'"),
        ("app", r"select '\xff'"),
    ]


@pytest.mark.parametrize("name", ["percona_old.xml", "enterprise_new.xml"])
def test_record_in_xml_that_a_crash_cut_off_is_put_aside_and_swallows_nothing(name: str) -> None:
    data = (RECORDED / name).read_bytes()
    records = data.split(b"<AUDIT_RECORD")
    cut = b"<AUDIT_RECORD".join([*records[:2], records[2][:60] + b"\n", data])
    found = decoded(cut)
    assert len(found.rejected) == 1
    assert found.rejected[0].raw.startswith(b"<AUDIT_RECORD" + records[2][:50])
    assert len(found.events) == len(decoded(data).events) + 1


@pytest.mark.parametrize(
    ("unix_time", "time_us"), [(1_738_577_700, 1_738_577_700_000_000), (1_738_577_700_123_456,) * 2]
)
def test_unix_time_of_a_record_wins(unix_time: int, time_us: int) -> None:
    text = '{"timestamp":"2025-02-03 23:15:00","id":1,"time":%d,"class":"audit","event":"startup"}'
    assert decoded((text % unix_time).encode()).events[0].time_us == time_us


@pytest.mark.parametrize("kind", ["connection", "general"])
def test_user_whose_name_reads_as_somebody_elses_is_told_by_the_name(kind: str) -> None:
    name = "a[root] @ localhost []"
    element = {
        "timestamp": "2025-02-03 10:15:00",
        "id": 1,
        "class": kind,
        "event": "connect" if kind == "connection" else "status",
        "connection_id": 7,
        "account": {"user": name, "host": ""},
        "login": {"user": name, "os": "", "ip": "10.0.0.7", "proxy": ""},
    }
    if kind == "connection":
        element["connection_data"] = {"status": 1045, "db": ""}
    else:
        element["general_data"] = {"command": "Query", "query": "select 1", "status": 0}
    for event in decoded(json.dumps(element).encode()).events:
        assert (event.user, event.source_ip, event.source_host) == (name, "10.0.0.7", None)
    xml = (
        f"<AUDIT_RECORD><NAME>Query</NAME><TIMESTAMP>2025-02-03T10:15:00 UTC</TIMESTAMP><USER>{name}</USER>"
        "<HOST></HOST><IP>10.0.0.7</IP><STATUS>0</STATUS><SQLTEXT>select 1</SQLTEXT></AUDIT_RECORD>"
    )
    assert decoded(xml.encode()).events[0].user == name


def test_session_of_the_agent_is_left_out_and_a_later_one_with_its_number_is_not() -> None:
    login = '{"timestamp":"2025-02-03 10:15:00","id":%d,"class":"connection","event":"connect",'
    login += '"connection_id":7,"login":{"user":"dbaudit"},"connection_data":{"status":0,'
    login += '"connection_attributes":{"program_name":"%s"}}}'
    query = '{"timestamp":"2025-02-03 10:15:00","id":%d,"class":"general","event":"status","connection_id":7,'
    query += '"login":{"user":"dbaudit"},"general_data":{"command":"Query","query":"select 1","status":0}}'
    lines = [login % (0, "dbaudit-agent"), query % 1, login % (2, "mysql"), query % 3]
    found = decoded("\n".join(lines).encode()).events
    assert [event.key[20:] for event in found] == ["2", "2:login", "3"]


@pytest.mark.parametrize("name", FILES)
def test_records_cut_anywhere_are_read_whole(name: str) -> None:
    """A file that grows byte by byte gives the events of the whole file, each once."""
    data = (RECORDED / name).read_bytes()
    kind = format_of(data)
    assert kind is not None
    borders, begin, parts = BORDERS[kind], 0, []
    for end in range(1, len(data) + 1):
        whole = borders.last(data[begin:end])
        if whole:
            parts.append(AuditBlock(format=kind, data=data[begin : begin + whole], head="h", offset=begin))
            begin += whole
    result = decode(parts)
    assert result.rejected == []
    expected = [e.key for e in decoded(data).events]
    assert [e.key for e in result.events if e.key in expected] == expected


@pytest.mark.parametrize("name", FILES)
def test_first_border_is_a_border(name: str) -> None:
    data = (RECORDED / name).read_bytes()
    kind = format_of(data)
    assert kind is not None
    for begin in range(0, len(data), 37):
        end = BORDERS[kind].first(data[begin:])
        result = decode([AuditBlock(format=kind, data=data[begin + end :], head="h")])
        assert end == 0 or result.rejected == []


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_any_damage_is_put_aside_and_never_stops_the_stream(name: str, chance: st.DataObject) -> None:
    data = bytearray((RECORDED / name).read_bytes())
    for _each in range(chance.draw(st.integers(1, 5))):
        place = chance.draw(st.integers(0, len(data) - 1))
        data[place : place + chance.draw(st.integers(0, 8))] = chance.draw(st.binary(max_size=8))
    for kind in BORDERS:
        block = AuditBlock(format=kind, data=bytes(data), head="h", own_user="app", own_application="till")
        result = decode([block])
        for event in result.events:
            assert event.key
            assert event.time_us >= 0
        for border in BORDERS[kind]:
            assert 0 <= border(bytes(data)) <= len(data)


@pytest.mark.parametrize("name", FILES)
def test_garbage_between_records_is_counted(name: str) -> None:
    data = (RECORDED / name).read_bytes()
    before = [e.key for e in decoded(data).events]
    garbage = b"\x00\xff garbage \xc3(\n"
    result = decoded(data + b"\n" + garbage)
    assert len(result.rejected) == 1
    assert [e.key for e in result.events] == before
