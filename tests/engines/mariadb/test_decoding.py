"""Lines of server_audit and what they become: bytes alone, no server."""

import random

import msgspec
import pytest
from dbaudit.core.clock import format_us
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engine.base import Decoded
from dbaudit.engines.mariadb.decoding import decode
from dbaudit.engines.mariadb.records import LineBlock, LineFormat
from dbaudit.engines.mariadb.stamps import stamps_of
from dbaudit.testing.mutation import mutate_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.mariadb.lines import STAMP, TIME_US, block, decoded, event, events, with_context

LINES = (
    b"20261122 10:15:00,db1,app,10.0.0.7,41,0,CONNECT,shop,,0",
    b"20261122 10:15:03,db1,app,10.0.0.7,41,87,QUERY,shop,'select 1 from t where n=\\'\\\\\\'',0",
    b"20261122 10:15:03,db1,app,10.0.0.7,41,87,READ,shop,t,",
    b"20261122 10:15:04,db1,a,b'c,10.0.0.7,41,88,QUERY,s,'x,'update t set a=1\\nwhere b=\\'\xc3\xa9\\'',1146",
    b"20261122 10:15:04,db1,app,10.0.0.7,41,89,RENAME,shop,t,1|shop.t2,",
    b"20261122 10:15:09,db1,bob,10.0.0.9,42,0,FAILED_CONNECT,,,1045",
    b"20261122 10:15:10,db1,root,localhost,-5,0,PROXY_CONNECT,,`app`@`%`,0",
    b"20261122 10:16:00,db1,app,10.0.0.7:51514,41,0,DISCONNECT,shop,,0",
)


def test_statement() -> None:
    found = event(b"app,10.0.0.7,41,87,QUERY,shop,'select 1',0")
    assert found.type is EventType.QUERY
    assert found.time_us == TIME_US
    assert (found.user, found.database, found.session_id) == ("app", "shop", "41")
    assert (found.source_ip, found.source_port, found.source_host) == ("10.0.0.7", None, None)
    assert (found.operation, found.query) == ("SELECT", "select 1")
    assert (found.outcome, found.error_code) == (Outcome.SUCCESS, None)
    assert found.detail == {"query_id": 87}
    assert found.key == "f1:1000"


@pytest.mark.parametrize("kind", [b"QUERY_DDL", b"QUERY_DML", b"QUERY_DML_NO_SELECT", b"QUERY_DCL"])
def test_statement_of_a_kind_is_one(kind: bytes) -> None:
    found = event(b"app,10.0.0.7,41,87,%b,shop,'drop table t',0" % kind)
    assert (found.operation, found.command_class, found.query) == ("DROP TABLE", "DDL", "drop table t")
    assert event(b"a,b,10.0.0.7,41,87,%b,shop,'drop table t',0" % kind).user == "a,b"


def test_statement_that_failed() -> None:
    found = event(b"app,10.0.0.7,41,87,QUERY,shop,'select * from nosuch',1146")
    assert (found.outcome, found.error_code) == (Outcome.FAILURE, "1146")


@pytest.mark.parametrize(
    ("written", "query"),
    [
        (rb"it\'s \\ here", r"it's \ here"),
        (rb"a\nb\r\n\tc", "a\nb\r\n\tc"),
        (rb"a\bb\fc", "a\bb\fc"),
        (rb"\\n is no break", r"\n is no break"),
        (rb"\\\'", "\\'"),
        (b"classic blanks  for breaks", "classic blanks  for breaks"),
        (b"', 0,db1,x,'',0,", "', 0,db1,x,'',0,"),
        ("ünï 🐘".encode(), "ünï 🐘"),
        (b"caf\xe9 \\'\xe8\\'", "caf\\xe9 '\\xe8'"),
        (b"a letter of gbk \xbf\\\\", "a letter of gbk \\xbf\\"),
        (b"\x00\x01", "\x00\x01"),
    ],
)
def test_text_of_a_statement_comes_as_it_was(written: bytes, query: str) -> None:
    assert event(b"app,10.0.0.7,41,87,QUERY,shop,'" + written + b"',0").query == query


def test_text_that_is_cut_inside_a_letter_says_so() -> None:
    text = b"select '" + "é".encode() * 600
    found = event(b"app,10.0.0.7,41,87,QUERY,shop,'" + text[: 1024 - 1] + b"',0")
    assert found.query == "select '" + "é" * 507
    assert found.detail == {"query_id": 87, "truncated": True}


def test_names_with_commas_and_quotes() -> None:
    found = event(b"a,b'c,10.0.0.7,41,88,QUERY,shop,'select \\'x\\',0,db1,y,\\'z\\'',0")
    assert (found.user, found.source_ip, found.query) == ("a,b'c", "10.0.0.7", "select 'x',0,db1,y,'z'")
    found = event(b"a,b,10.0.0.7,41,88,QUERY,sh,op,'select 1',0")
    assert (found.user, found.database) == ("a,b", "sh,op")
    found = event(b"app,10.0.0.7,41,89,READ,shop,t,1,")
    assert found.objects == ("shop.t,1",)
    found = event(b"app,10.0.0.7,41,89,RENAME,shop,t,1|shop.t2,")
    assert found.objects == ("shop.t,1", "shop.t2")


@pytest.mark.parametrize(
    ("operation", "command_class"), [("READ", "READ"), ("WRITE", "WRITE"), ("ALTER", "DDL"), ("DROP", "DDL")]
)
def test_table_that_was_touched(operation: str, command_class: str) -> None:
    found = event(b"app,10.0.0.7,41,89,%b,shop,t," % operation.encode())
    assert found.type is EventType.QUERY
    assert (found.operation, found.command_class, found.objects) == (operation, command_class, ("shop.t",))
    assert found.detail == {"query_id": 89, "record": "table"}


def test_log_in_is_a_connection_and_a_log_in() -> None:
    connection, log_in = events(b"app,10.0.0.7,41,0,CONNECT,shop,,0")
    assert (connection.type, log_in.type) == (EventType.CONNECTION, EventType.LOGIN_SUCCESS)
    assert connection.key != log_in.key
    assert {e.outcome for e in (connection, log_in)} == {Outcome.SUCCESS}
    assert {e.database for e in (connection, log_in)} == {"shop"}


@pytest.mark.parametrize("operation", [b"FAILED_CONNECT", b"CONNECT"])
def test_refused_log_in(operation: bytes) -> None:
    connection, refusal = events(b"bob,10.0.0.9,42,0,%b,,,1045" % operation)
    assert (connection.type, refusal.type) == (EventType.CONNECTION, EventType.LOGIN_FAILED)
    assert (refusal.user, refusal.outcome, refusal.error_code) == ("bob", Outcome.FAILURE, "1045")
    assert refusal.severity is Severity.WARNING


def test_account_that_a_user_acts_as_is_told() -> None:
    found = event(b"root,localhost,5,0,PROXY_CONNECT,,`app`@`%`,0")
    assert (found.type, found.detail) == (EventType.LOGIN_SUCCESS, {"proxy": "`app`@`%`"})


def test_log_out() -> None:
    assert event(b"app,10.0.0.7,41,0,DISCONNECT,shop,,0").type is EventType.DISCONNECT


def test_port_and_tls_version_of_newer_servers() -> None:
    _connection, log_in = events(b"app,10.0.0.7:51514,41,0,CONNECT,shop,TLSv1.3,0")
    assert (log_in.source_ip, log_in.source_port) == ("10.0.0.7", 51514)
    assert log_in.detail == {"tls_protocol": "TLSv1.3"}


@pytest.mark.parametrize(
    ("written", "has_port", "ip", "port", "host"),
    [
        (b"[2001:db8::7]:51514", None, "2001:db8::7", 51514, None),
        (b"2001:db8::7", None, "2001:db8::7", None, None),
        (b"2001:db8::7:5432", None, "2001:db8::7:5432", None, None),
        (b"2001:db8::7:5432", False, "2001:db8::7:5432", None, None),
        (b"2001:db8::7:5432", True, "2001:db8::7", 5432, None),
        (b"2001:db8::7:51514", True, "2001:db8::7", 51514, None),
        (b"2001:db8::7:51514", None, "2001:db8::7", 51514, None),
        (b"::1:5432", None, "::1", 5432, None),
        (b"::1:5432", True, "::1", 5432, None),
        (b"::1", True, "::1", None, None),
        (b"10.0.0.7:80", True, "10.0.0.7", 80, None),
        (b"localhost", True, None, None, "localhost"),
        (b"localhost:unavailable", None, None, None, "localhost"),
        (b"10.0.0.7:unavailable", None, "10.0.0.7", None, None),
        (b"web7.example:51514", True, None, 51514, "web7.example"),
    ],
)
def test_port_is_read_from_the_right_side_of_the_clients_address(
    written: bytes, has_port: bool | None, ip: str | None, port: int | None, host: str | None
) -> None:
    line = STAMP + b",db1,app,%b,41,0,DISCONNECT,shop,,0\n" % written
    (found,) = decode([with_context(block(line), has_port=has_port)]).events
    assert (found.source_ip, found.source_port, found.source_host) == (ip, port, host)


def test_tls_version_behind_the_code_as_the_enterprise_server_has_it() -> None:
    _connection, log_in = events(b"app,10.0.0.7:54312,7,0,CONNECT,mysql,,0,TLSv1.3")
    assert (log_in.database, log_in.source_port) == ("mysql", 54312)
    assert log_in.detail == {"tls_protocol": "TLSv1.3"}
    _connection, log_in = events(b"app,localhost:unavailable,8,0,CONNECT,,,0,")
    assert (log_in.type, log_in.source_host, log_in.detail) == (EventType.LOGIN_SUCCESS, "localhost", None)
    _connection, refusal = events(b"a,b,10.0.0.7:80,8,0,FAILED_CONNECT,,,1045,")
    assert (refusal.type, refusal.user, refusal.error_code) == (EventType.LOGIN_FAILED, "a,b", "1045")


def test_change_of_the_audits_own_settings_is_an_event() -> None:
    found = event(b",,0,0,AUDIT_CONFIG,,file_rotations=9,0")
    assert (found.operation, found.command_class, found.outcome) == ("AUDIT_CONFIG", "MISC", Outcome.SUCCESS)
    assert found.detail == {"record": "audit_config", "setting": "file_rotations=9"}


@pytest.mark.parametrize("memory", [b"O" * 384, b"", b"\x00\xff,\x01,`", b"ab\ncd", b"'x',0"])
def test_user_changed_on_a_connection_has_no_database_of_unset_memory(memory: bytes) -> None:
    found = event(b",,11,0,CHANGEUSER," + memory + b",,0")
    assert (found.type, found.outcome) == (EventType.LOGIN_SUCCESS, Outcome.SUCCESS)
    assert (found.user, found.database, found.session_id) == (None, None, "11")
    assert (found.detail or {})["change_user"] is True
    assert "next record" in (found.detail or {})["user"]


def test_user_changed_on_a_connection_that_the_server_names() -> None:
    found = event(b"eve,10.0.0.7,11,0,CHANGEUSER,shop,,0")
    assert (found.user, found.database, found.detail) == ("eve", "shop", {"change_user": True})
    found = event(b"eve,10.0.0.7,11,0,CHANGEUSER,,,1045")
    assert (found.type, found.user, found.error_code) == (EventType.LOGIN_FAILED, "eve", "1045")


@pytest.mark.parametrize(
    "message",
    [
        b"Access denied for user 'lim'@'127.0.0.1' to database 'shop'",
        b"Access denied for user 'lim'@'127.0.0.1' to database 'x,10.9.9.9,5,6,QUERY,y'",
        b"Access denied for user 'lim'@'127.0.0.1' to database 'a',0,b'",
        b"Access denied for user ''@'%' to database 'cut at some length and so without an e",
        "Benutzer 'lim'@'127.0.0.1' hat keine Zugriffsberechtigung für Datenbank 'shop'".encode(),
    ],
)
def test_message_of_an_error_is_no_database(message: bytes) -> None:
    found = event(b"lim,127.0.0.1,41,87,QUERY," + message + b",'use shop',1044")
    assert (found.user, found.source_ip, found.session_id) == ("lim", "127.0.0.1", "41")
    assert (found.query, found.error_code, found.database) == ("use shop", "1044", None)
    assert "error" in (found.detail or {})["database"]


@pytest.mark.parametrize(
    "line",
    [
        # The user, who logged in as nobody, or the database holds the columns of a record.
        b"root,localhost,5,6,QUERY,mysql,10.0.0.66,14,88,QUERY,shop,'drop table t',0",
        b"root,10.0.0.1,5,0,CONNECT,mysql,10.0.0.66,14,0,CONNECT,shop,,0",
        b"root,10.0.0.1,5,0,CONNECT,mysql,,0,10.0.0.66,14,0,DISCONNECT,,,0",
        b"root,localhost,5,6,READ,mysql,user,10.0.0.66,14,89,WRITE,shop,t,",
    ],
)
def test_record_that_can_be_read_in_two_ways_is_nobodys_and_a_threat(line: bytes) -> None:
    found, threat = events(line)
    assert (found.user, found.database, found.session_id, found.source_ip) == (None, None, None, None)
    assert found.severity is Severity.CRITICAL
    assert "cannot be said" in (found.detail or {})["suspect"]
    assert (threat.type, threat.severity) == (EventType.THREAT_DETECTED, Severity.CRITICAL)
    assert "10.0.0.66" in (threat.detail or {})["record"]
    if found.query is not None:
        assert (found.query, found.operation, found.command_class) == ("drop table t", "DROP TABLE", "DDL")
        assert "drop table" not in (threat.detail or {})["record"]


def test_user_name_that_begins_a_statement_is_not_one() -> None:
    found, _threat = events(
        b"root,localhost,5,6,QUERY,mysql,'drop table x,10.0.0.66,14,88,QUERY,shop,'select 1',0"
    )
    assert found.user is None
    assert found.query == "select 1"


def test_what_the_server_writes_into_its_own_logs_is_left_out() -> None:
    assert events(b"app,10.0.0.7,41,89,WRITE,mysql,general_log,") == []
    assert events(b"app,10.0.0.7,41,89,WRITE,mysql,slow_log,") == []
    assert decoded(
        b"app,10.0.0.7,41,89,WRITE,mysql,slow_log,",
        b"app,10.0.0.7,41,90,READ,mysql,column_stats,",
        b"app,10.0.0.7,41,91,READ,shop,t,",
        b"app,10.0.0.7,41,91,READ,mysql,column_stats,",
        b"dbaudit,10.0.0.1,41,91,READ,mysql,column_stats,",
    ).left_out == {"WRITE mysql.slow_log": 1, "READ mysql.column_stats": 2}
    assert event(b"app,10.0.0.7,41,89,READ,mysql,general_log,").objects == ("mysql.general_log",)
    assert event(b"app,10.0.0.7,41,89,WRITE,shop,general_log,").objects == ("shop.general_log",)


def test_names_with_commas_of_a_table_have_no_sure_database() -> None:
    found = event(b"app,10.0.0.7,41,89,READ,a,b'c,x,")
    assert (found.database, found.objects) == (None, ("a.b'c,x",))
    assert "commas" in (found.detail or {})["names"]


OTHER_STAMPS = ("%Y-%m-%dT%H:%i:%s.%f", "%Y%m%dT%H:%i:%s.%f%z", "%d/%b/%Y %r", "%Y-%j,%T")


@pytest.mark.parametrize(
    ("stamp", "micros"),
    [
        (b"2026-11-22T10:15:03.000250", 250),
        (b"20261122T111503.000000+0100".replace(b"T1115", b"T11:15:"), 0),
        (b"22/Nov/2026 10:15:03 AM", 0),
        (b"2026-326,10:15:03", 0),
        (STAMP, 0),
    ],
)
def test_time_stamps_of_a_set_format_are_read(stamp: bytes, micros: int) -> None:
    line = stamp + b",db1,app,10.0.0.7,41,87,QUERY,shop,'select 1',0\n"
    found = decode([with_context(block(line), time_stamps=OTHER_STAMPS)])
    assert found.rejected == []
    assert [(e.query, e.user, e.time_us) for e in found.events] == [("select 1", "app", TIME_US + micros)]


@pytest.mark.parametrize(
    "after",
    [
        b"2026-11-22T10:15:04,db1,root,localhost,9,0,CONNECT,mysql,,0",
        b"2026-11-22T10:15:04,db1,root,localhost,9,0,FAILED_CONNECT,,,1045",
        b"2026-11-22T10:15:04,db1,root,localhost,9,88,QUERY,shop,'select 2',0",
        b"US=000000,db1,root,localhost,9,88,READ,shop,t,",
    ],
)
def test_last_record_before_another_format_of_time_stamps_is_not_swallowed(after: bytes) -> None:
    before = STAMP + b",db1,root,localhost,9,87,QUERY,shop,'drop table payroll',0"
    found = decode([block(before + b"\n" + after + b"\n")])
    assert [(e.type, e.user, e.query) for e in found.events] == [
        (EventType.QUERY, "root", "drop table payroll")
    ]
    assert [rejected.raw for rejected in found.rejected] == [after]


def test_forged_stamp_in_a_name_is_part_of_it_where_the_server_has_no_other_format() -> None:
    name = b"root,10.0.0.1,5,0,CONNECT,mysql,,0\n2026-11-22T10:15:04,db1,x"
    line = STAMP + b",db1," + name + b",10.0.0.66,14,0,FAILED_CONNECT,,,1045\n"
    found = decode([with_context(block(line), time_stamps=())])
    assert found.rejected == []
    assert {e.type for e in found.events} == {
        *(EventType.CONNECTION, EventType.LOGIN_FAILED, EventType.THREAT_DETECTED)
    }
    assert {e.user for e in found.events} == {name.decode()}


@pytest.mark.parametrize("setting", ["US=%f", "%H:%i:%s", "%Y-%m-%d", "%m-%d %T", "%Y-%m-%d %h:%i", "plain"])
def test_format_that_says_no_moment_is_known_as_such(setting: str) -> None:
    assert stamps_of(setting) is None


def test_client_that_is_a_name() -> None:
    found = event(b"app,localhost,41,0,DISCONNECT,shop,,0")
    assert (found.source_ip, found.source_host) == (None, "localhost")


def test_connection_number_above_two_billion_is_not_negative() -> None:
    assert event(b"app,localhost,-1,0,DISCONNECT,shop,,0").session_id == str(2**32 - 1)


def test_agents_own_records_are_left_out_but_not_its_refusals() -> None:
    own = (
        b"dbaudit,10.0.0.1,41,0,CONNECT,,,0",
        b"dbaudit,10.0.0.1:5000,41,7,QUERY,,'select 1',0",
        b"dbaudit,10.0.0.1,41,7,READ,mysql,general_log,",
        b"dbaudit,10.0.0.1,41,0,DISCONNECT,,,0",
    )
    assert events(*own) == []
    (refusal,) = events(b"dbaudit,10.0.0.1,41,0,FAILED_CONNECT,,,1045")
    assert refusal.type is EventType.LOGIN_FAILED
    assert event(b"dbaudit,10.0.0.99,41,7,QUERY,,'select 1',0").user == "dbaudit"


def test_what_the_server_does_beside_a_statement_is_left_out() -> None:
    assert events(b"app,10.0.0.7,41,89,READ,mysql,table_stats,") == []
    assert event(b"app,10.0.0.7,41,89,READ,mysql,global_priv,").objects == ("mysql.global_priv",)


def test_user_name_that_looks_like_a_record_does_not_become_one() -> None:
    """Whoever fails to log in chooses the user name; server_audit writes it as it is."""
    forged = b"root,10.0.0.1,5,0,CONNECT,mysql,,0"
    _connection, refusal, threat = events(forged + b",10.0.0.66,14,0,FAILED_CONNECT,,,1045")
    assert refusal.type is EventType.LOGIN_FAILED
    assert (refusal.user, refusal.source_ip) == (forged.decode(), "10.0.0.66")
    assert (threat.type, threat.severity) == (EventType.THREAT_DETECTED, Severity.CRITICAL)
    assert (threat.user, threat.source_ip) == (forged.decode(), "10.0.0.66")
    forged = b"u,h,1,2,QUERY,db,'x',0"
    _connection, refusal, _threat = events(forged + b",10.0.0.66,14,0,FAILED_CONNECT,y',,1045")
    assert (refusal.type, refusal.user) == (EventType.LOGIN_FAILED, forged.decode())


def test_user_name_with_a_line_break_is_put_together_again_and_told() -> None:
    name = b"root,10.0.0.1,5,0,CONNECT,mysql,,0\nx"
    found = decoded(b"app,10.0.0.7,41,1,QUERY,,'select 1',0", name + b",10.0.0.66,14,0,FAILED_CONNECT,,,1045")
    assert found.rejected == []
    query, _connection, refusal, threat = found.events
    assert query.query == "select 1"
    assert (refusal.type, refusal.user) == (EventType.LOGIN_FAILED, name.decode())
    assert refusal.severity is Severity.CRITICAL
    assert "forged" in (refusal.detail or {})["suspect"]
    assert (threat.type, threat.severity) == (EventType.THREAT_DETECTED, Severity.CRITICAL)


def test_line_that_is_none_is_put_aside_and_the_others_are_kept() -> None:
    found = decode([block(b"\n".join((LINES[1], b"garbage", b",,,,,,,,", LINES[2], b"")))])
    assert [e.operation for e in found.events] == ["SELECT", "READ"]
    assert [rejected.raw for rejected in found.rejected] == [b"garbage", b",,,,,,,,"]
    assert found.rejected[0].position == f"f1:{1000 + len(LINES[1]) + 1}"


@pytest.mark.parametrize(
    "line",
    [
        b"app,10.0.0.7,41,87,QUERY,shop,'select 1'",
        b"app,10.0.0.7,41,87,QUERY,shop,'select 1',",
        b"app,10.0.0.7,41,87,QUERY,shop,select 1,0",
        b"app,10.0.0.7,x,87,QUERY,shop,'select 1',0",
        b"app,10.0.0.7,41,87,NEW_KIND,shop,t,0",
        b"app,10.0.0.7,41,0,CONNECT,shop,,x",
        b"app,10.0.0.7,41,0,CONNECT,shop,,-\xed",
        b"app,10.0.0.7,41," + b"9" * 5000 + b",QUERY,shop,'select 1',0",
        b"app,10.0.0.7," + b"9" * 5000 + b",1,QUERY,shop,'select 1',0",
        b"",
    ],
)
def test_record_of_an_unknown_form_is_put_aside(line: bytes) -> None:
    found = decoded(line)
    assert found.events == []
    assert len(found.rejected) == 1


def test_time_stamp_that_names_no_hour_is_put_aside() -> None:
    found = decode([block(b"20261122 99:15:03,db1,app,10.0.0.7,41,0,DISCONNECT,shop,,0\n")])
    assert found.events == []
    assert len(found.rejected) == 1


def test_record_without_an_end_is_put_aside() -> None:
    found = decode([block(STAMP + b",db1,app,10.0.0.7,41,87,QUERY,shop,'sel", whole=False)])
    assert found.events == []
    assert found.rejected[0].raw.endswith(b"'sel")


@pytest.mark.parametrize(
    "prefix",
    [
        b"Nov 22 10:15:03 db1 mysql-server_auditing:  ",
        b"Nov 22 10:15:03 db1 mysql-server_auditing[77]:  ",
        b"<14>Nov 22 10:15:03 db1 mysql-server_auditing:  ",
        b"2026-11-22T11:15:03+01:00 db1 mysql-server_auditing:  ",
        b"2026-11-22T10:15:03.000000Z db1 mysql-server_auditing:  ",
    ],
)
def test_line_of_syslog(prefix: bytes) -> None:
    line = prefix + b"db1,app,10.0.0.7,41,87,QUERY,shop,'select 1',0\n"
    found = decode([block(line, syslog=True)])
    assert found.rejected == []
    assert [(e.query, e.time_us) for e in found.events] == [("select 1", TIME_US)]


def test_lines_of_other_programs_and_other_servers_in_syslog_are_not_ours() -> None:
    lines = (
        b"Nov 22 10:15:03 db1 sshd[1]: Accepted publickey for root",
        b"Nov 22 10:15:03 db2 mysql-server_auditing:  db2,app,10.0.0.7,41,87,QUERY,shop,'select 1',0",
        b"\xff\xfe",
    )
    assert decode([block(b"\n".join(lines) + b"\n", syslog=True)]).events == []
    broken = b"Nov 22 10:15:03 db1 mysql-server_auditing:  db1,app,10.0.0.7,41,87,QUERY,shop,'cut"
    assert len(decode([block(broken, syslog=True)]).rejected) == 1


def _check(record: LineBlock) -> None:
    found = decode([record])
    for one in found.events:
        msgspec.json.encode(one)
        assert format_us(one.time_us)
    keys = [(one.time_us, one.key) for one in found.events]
    assert len(set(keys)) == len(keys)
    positions = [rejected.position for rejected in found.rejected]
    assert len(set(positions)) == len(positions)
    if record.format is LineFormat.SERVER_AUDIT:
        _check_that_nothing_vanishes(record, found)


def _check_that_nothing_vanishes(record: LineBlock, found: Decoded) -> None:
    """A line becomes events, is put aside, or is the end of the name that the line before it began."""
    told = {int(one.key.split(":")[1]) for one in found.events}
    told |= {int(rejected.position.split(":")[1]) for rejected in found.rejected}
    offset, joined = record.offset, []
    for line in record.data.split(b"\n"):
        if line and offset not in told:
            joined.append(line)
        offset += len(line) + 1
    assert len(joined) <= sum(map(_line_breaks, found.events))


def _line_breaks(one: AuditEvent) -> int:
    texts = (
        one.user,
        one.source_host,
        one.database,
        one.query,
        *(one.objects or ()),
        *(one.detail or {}).values(),
    )
    return sum(text.count("\n") for text in texts if isinstance(text, str))


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_do_no_harm(data: bytes) -> None:
    for syslog in (False, True):
        _check(block(data, syslog=syslog))
        _check(block(STAMP + b",db1," + data, syslog=syslog))


@pytest.mark.parametrize("seed", range(4))
def test_mutated_records_do_no_harm(seed: int) -> None:
    chance = random.Random(seed)
    for _each in range(500):
        lines = [mutate_bytes(line, chance) if chance.random() < 0.5 else line for line in LINES]
        _check(block(b"\n".join(lines) + b"\n"))


def test_hostile_line_takes_no_time() -> None:
    names = b",1,0,CONNECT" * 100_000
    queries = STAMP + b",db1" + b",a,1,1,QUERY,x" * 100_000 + b"',0"
    for line in (
        STAMP + b",db1" + names,
        queries,
        b",'" * 200_000,
        b"\n" * 100_000,
        (STAMP + b",\n") * 50_000,
    ):
        decode([block(line)])
