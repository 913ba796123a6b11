"""From rows to events: every kind of action, and rows that are none."""

from __future__ import annotations

from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.position import OwnSession
from dbaudit.engines.sqlserver.queries import AUDIT_COLUMNS
from dbaudit.engines.sqlserver.records import Rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.sqlserver.model import action_info

ENGINE = SQLServerEngine()
FILE = r"D:\Audit\dbaudit_A3A5F1B7-0000-4000-8000-000000000000_0_133000000000000000.sqlaudit"
NOW_US = 1_795_000_000_000_000


def row(**columns: Any) -> tuple[Any, ...]:
    """An audit row as servers from 2022 on give it."""
    values = {
        "file_name": FILE,
        "audit_file_offset": 5632,
        "time_us": NOW_US,
        "sequence_number": 1,
        "action_id": "BCM ",
        "succeeded": True,
        "session_id": 61,
        "server_principal_name": "app",
        "session_server_principal_name": "app",
        "database_name": "shop",
        "additional_information": "",
        "client_ip": "10.0.0.9",
        "application_name": "shop server",
        "host_name": "web1",
        **columns,
    }
    return tuple(values.get(name) for name in AUDIT_COLUMNS)


def block(*rows: tuple[Any, ...], **changes: Any) -> Rows:
    values = {"own_login": "dbaudit", "own_application": "dbaudit-agent", **changes}
    return Rows(kind=Kind.AUDIT, rows=rows, **values)


def event_of(**columns: Any) -> AuditEvent:
    *of_its_connection, event = ENGINE.decode([block(row(**columns))]).events
    assert [one.type for one in of_its_connection] in ([], [EventType.CONNECTION])
    return event


def detail(event: AuditEvent) -> dict[str, Any]:
    assert event.detail is not None
    return event.detail


def test_key_names_file_buffer_and_place_in_it() -> None:
    rows = [row(), row(), row(audit_file_offset=7168), row(file_name=FILE.replace("133000", "133001"))]
    events = ENGINE.decode([block(*rows, skipped=4)]).events
    name = "A3A5F1B7_0_133000000000000000"
    assert [event.key for event in events] == [
        f"{name}:5632:4",
        f"{name}:5632:5",
        f"{name}:7168:0",
        f"{name.replace('133000', '133001')}:5632:0",
    ]


@pytest.mark.parametrize("action", ["LGIS", "DBAS"])
def test_login_is_a_success_with_address_and_protocol(action: str) -> None:
    event = event_of(
        action_id=action,
        statement="-- network protocol: TCP/IP\r\nset quoted_identifier on",
        additional_information=action_info(error="0x00000000", state=1),
    )
    assert event.type is EventType.LOGIN_SUCCESS
    assert event.outcome is Outcome.SUCCESS
    assert (event.user, event.source_ip, event.source_host) == ("app", "10.0.0.9", "web1")
    assert event.query is None
    assert detail(event)["network_protocol"] == "TCP/IP"


def test_login_tells_of_its_connection_too_unless_that_was_in_a_pool() -> None:
    (opened, log_in) = ENGINE.decode([block(row(action_id="LGIS"))]).events
    assert (opened.type, log_in.type) == (EventType.CONNECTION, EventType.LOGIN_SUCCESS)
    assert (opened.source_ip, opened.session_id) == (log_in.source_ip, log_in.session_id)
    assert log_in.key == f"{opened.key}:login"
    pooled = action_info(error="0x00000000", state=1).replace("tion>0</pool", "tion>1</pool")
    again = ENGINE.decode([block(row(action_id="LGIS", additional_information=pooled))]).events
    assert [event.type for event in again] == [EventType.LOGIN_SUCCESS]


def test_failed_login_has_its_error_and_its_address_from_the_xml_of_old_versions() -> None:
    event = event_of(
        action_id="LGIF",
        succeeded=False,
        client_ip=None,
        host_name=None,
        session_server_principal_name="",
        server_principal_name="sa",
        statement="Login failed for user 'sa'. Reason: Password did not match. [CLIENT: 192.168.7.7]",
        additional_information=action_info(error="0x00004818", state=8, address="10.9.8.7"),
    )
    assert event.type is EventType.LOGIN_FAILED
    assert (event.outcome, event.severity) == (Outcome.FAILURE, Severity.WARNING)
    assert (event.error_code, event.user, event.source_ip) == ("18456", "sa", "10.9.8.7")
    assert detail(event)["state"] == 8


def test_address_of_a_failed_login_is_found_in_its_message() -> None:
    event = event_of(action_id="LGIF", client_ip=None, statement="Login failed. [CLIENT: fe80::1%4]")
    assert event.source_ip == "fe80::1%4"


@pytest.mark.parametrize("client", ["local machine", "named pipe", "<local machine>"])
def test_client_that_has_no_address_is_named(client: str) -> None:
    information = f"<address>{client}</address>"
    event = event_of(action_id="LGIS", client_ip=None, additional_information=information.replace("<l", "l"))
    assert event.source_ip is None
    assert detail(event)["client"] == client.strip("<>")


def test_logout_is_a_disconnect() -> None:
    event = event_of(action_id="LGO ")
    assert event.type is EventType.DISCONNECT
    assert event.outcome is None


def test_action_that_only_the_server_knows_by_name_is_understood() -> None:
    (event,) = ENGINE.decode([block(row(action_id="DBL"), actions={"DBL": "DATABASE LOGOUT"})]).events
    assert event.type is EventType.DISCONNECT


@pytest.mark.parametrize(
    ("action", "statement", "operation", "command_class"),
    [
        ("SL  ", "select * from dbo.t", "SELECT", "READ"),
        ("IN  ", "insert dbo.t default values", "INSERT", "WRITE"),
        ("UP  ", "update dbo.t set a = 1", "UPDATE", "WRITE"),
        ("DL  ", "delete dbo.t", "DELETE", "WRITE"),
        ("EX  ", "exec dbo.p", "EXECUTE", "FUNCTION"),
        ("BCM ", "create or alter view v as select 1", "CREATE VIEW", "DDL"),
        ("BCM ", "/* x */ select 1", "SELECT", "READ"),
        ("CR  ", "CREATE TABLE dbo.t (a int)", "CREATE TABLE", "DDL"),
        ("G   ", "GRANT SELECT ON dbo.t TO u", "GRANT", "ROLE"),
        ("AUSC", "", "AUDIT SESSION CHANGED", "MISC"),
        ("ZZZZ", None, "ZZZZ", "MISC"),
    ],
)
def test_statement_has_its_operation_and_class(
    action: str, statement: str | None, operation: str, command_class: str
) -> None:
    event = event_of(action_id=action, statement=statement)
    assert event.type is EventType.QUERY
    assert (event.operation, event.command_class) == (operation, command_class)
    assert event.query == (statement or None)
    assert event.outcome is None


def test_refused_permission_is_a_failure() -> None:
    event = event_of(action_id="SL", succeeded=False, schema_name="dbo", object_name="salaries")
    assert event.outcome is Outcome.FAILURE
    assert event.severity is Severity.WARNING
    assert event.objects == ("dbo.salaries",)
    assert detail(event)["permission"] == "denied"


def test_who_acts_as_another_is_both() -> None:
    event = event_of(session_server_principal_name="alice", server_principal_name="sa")
    assert event.user == "alice"
    assert detail(event)["acting_as"] == "sa"


def test_procedure_that_ran_the_statement_is_named() -> None:
    stack = (
        "<tsql_stack><frame nest_level = '1' database_name = 'shop' schema_name = 'dbo' "
        "object_name = 'p_x003C_1'/></tsql_stack>"
    )
    event = event_of(action_id="SL", additional_information=stack)
    assert detail(event)["called_from"] == "shop.dbo.p<1"


def test_counts_and_durations_of_managed_instances_are_taken() -> None:
    event = event_of(duration_milliseconds=12, affected_rows=None, response_rows=3)
    assert (event.duration_ms, event.rows_affected) == (12, 3)


def test_parts_of_a_statement_are_joined() -> None:
    parts = ["a" * 4000, "b" * 4000, "c"]
    rows = [row(statement=part, sequence_number=n) for n, part in enumerate(parts, start=1)]
    (event,) = ENGINE.decode([block(*rows)]).events
    assert event.query == "".join(parts)
    assert event.key.endswith(":0")


def test_part_without_its_beginning_is_kept_and_marked() -> None:
    event = event_of(sequence_number=3, statement="the end")
    assert event.query == "the end"
    assert detail(event)["part"] == 3


def test_own_activity_is_known_by_login_and_application_together() -> None:
    mine = {"server_principal_name": "dbaudit", "session_server_principal_name": "dbaudit"}
    rows = [
        row(**mine, application_name="dbaudit-agent"),
        row(**mine, application_name="sqlcmd"),
        row(application_name="dbaudit-agent"),
    ]
    assert [event.user for event in ENGINE.decode([block(*rows)]).events] == ["dbaudit", "app"]


def test_own_activity_is_known_by_its_sessions_where_applications_are_not_named() -> None:
    mine = {"server_principal_name": "dbaudit", "session_server_principal_name": "dbaudit"}
    rows = [
        row(**mine, session_id=55),
        row(**mine, session_id=55, time_us=NOW_US - 10),
        row(**mine, session_id=56),
        row(session_id=55),
    ]
    given_ = block(*rows, own_application=None, own_sessions=[OwnSession(55, NOW_US - 5)])
    assert len(ENGINE.decode([given_]).events) == 3


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.sampled_from(["<address>", "<error>0xZZ</error>", "LGIS", "LGIF", "x" * 4000]),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(AUDIT_COLUMNS), _VALUES, max_size=6).map(lambda given: row(**given)),
        max_size=6,
    )
)
def test_row_of_any_values_is_an_event_or_put_aside(rows: list[tuple[Any, ...]]) -> None:
    decoded = ENGINE.decode([block(*rows)])
    assert len(decoded.events) + len(decoded.rejected) <= len(rows)
    for event in decoded.events:
        assert event.key
        assert event.time_us >= 0
    for rejected in decoded.rejected:
        assert isinstance(rejected.raw, bytes)
        assert "\n" not in rejected.reason


_FIELD = st.tuples(st.sampled_from(["session_id", "duration", "row_count", "message", "x"]), st.text())


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(),
        st.lists(_FIELD, max_size=4).map(
            lambda fields: (
                '<event name="error_reported" package="p" timestamp="2026-11-20T08:00:00.123Z">'
                + "".join(f'<data name="{name}"><value>{value}</value></data>' for name, value in fields)
            )
        ),
    )
)
def test_text_of_any_event_is_an_event_or_put_aside(text: str) -> None:
    rows = Rows(kind=Kind.EXTENDED_EVENTS, rows=[("f.xel", 1, "x", text)])
    decoded = ENGINE.decode([rows])
    assert len(decoded.events) + len(decoded.rejected) == 1


def xml(name: str, fields: str, end: str = "</event>") -> AuditEvent:
    text = f'<event name="{name}" package="sqlserver" timestamp="2026-11-20T08:00:00.123Z">{fields}{end}'
    decoded = ENGINE.decode([Rows(kind=Kind.EXTENDED_EVENTS, rows=[("/x/f_0_1.xel", 512, name, text)])])
    *of_its_connection, event = decoded.events
    assert [one.type for one in of_its_connection] in ([], [EventType.CONNECTION])
    assert event.key.removesuffix(":login") == "f_0_1.xel:512:0"
    return event


def test_batch_of_an_event_session_has_rows_duration_and_result() -> None:
    event = xml(
        "sql_batch_completed",
        '<data name="duration"><value>1500</value></data><data name="row_count"><value>7</value></data>'
        '<data name="result"><value>2</value><text>Abort</text></data>'
        '<data name="batch_text"><value>select &lt;1&gt; &amp;amp;</value></data>'
        '<action name="session_id" package="sqlserver"><value>77</value></action>'
        '<action name="username" package="sqlserver"><value>app</value></action>'
        '<action name="database_name" package="sqlserver"><value/></action>',
    )
    assert (event.duration_ms, event.rows_affected, event.outcome) == (1.5, 7, Outcome.FAILURE)
    assert (event.query, event.session_id, event.user) == ("select <1> &amp;", "77", "app")
    assert event.database is None


def test_error_18456_of_an_event_session_is_a_failed_login() -> None:
    event = xml(
        "error_reported",
        '<data name="error_number"><value>18456</value></data><data name="state"><value>5</value></data>'
        "<data name=\"message\"><value>Login failed for user 'eve'. [CLIENT: 10.1.1.1]</value></data>",
    )
    assert event.type is EventType.LOGIN_FAILED
    assert (event.user, event.source_ip, event.error_code) == ("eve", "10.1.1.1", "18456")


def test_event_that_was_cut_off_is_understood_as_far_as_it_goes() -> None:
    event = xml("login", '<action name="username" package="s"><value>app</value></action><data nam', end="")
    assert event.type is EventType.LOGIN_SUCCESS
    assert event.user == "app"
    assert detail(event)["truncated"] is True
