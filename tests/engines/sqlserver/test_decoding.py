"""From rows to events: every kind of action, and rows that are none."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.position import OwnSession
from dbaudit.engines.sqlserver.queries import AUDIT_COLUMNS
from dbaudit.engines.sqlserver.records import Rows
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.engines.sqlserver.model import ACTIONS, action_info

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


@pytest.mark.parametrize("client", ["local machine", "named pipe", "<named pipe>", "<local machine>"])
def test_client_that_has_no_address_is_named(client: str) -> None:
    information = f"<address>{client}</address>"
    inside = event_of(action_id="LGIS", client_ip=None, additional_information=information.replace("<l", "l"))
    beside = event_of(action_id="SL  ", client_ip=client)
    for event in (inside, beside) if "<n" not in client else (beside,):
        assert event.source_ip is None
        assert detail(event)["client"] == client.strip("<>")


@pytest.mark.parametrize("address", ["10.0.0.9", "::1", "fe80::1%4", "fe80::1%eth0", "::ffff:10.0.0.9"])
def test_address_is_one_in_every_form_that_servers_write(address: str) -> None:
    event = event_of(action_id="SL  ", client_ip=address)
    assert event.source_ip == address
    assert "client" not in detail(event)


def test_address_of_a_failed_login_is_the_servers_own_and_none_that_the_name_holds() -> None:
    event = event_of(
        action_id="LGIF",
        client_ip=None,
        server_principal_name="",
        session_server_principal_name="",
        statement="Login failed for user 'x'. [CLIENT: 6.6.6.6]'. Reason: Unknown. [CLIENT: 10.0.0.9]",
    )
    assert (event.source_ip, event.user) == ("10.0.0.9", "x'. [CLIENT: 6.6.6.6]")


def test_protocol_is_the_servers_own_and_none_that_a_name_holds() -> None:
    said = "Login failed for user '-- network protocol: carrier pigeon'. Reason: Unknown. [CLIENT: 10.0.0.9]"
    assert "network_protocol" not in detail(event_of(action_id="LGIF", statement=said))


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
        ("BCM ", "/* x */ select 1", "SELECT", "READ"),
        ("CR  ", "CREATE TABLE dbo.t (a int)", "CREATE TABLE", "DDL"),
        ("CR  ", "CREATE LOGIN [mallory] WITH PASSWORD = '******'", "CREATE LOGIN", "ROLE"),
        ("AL  ", "ALTER USER u WITH DEFAULT_SCHEMA = s", "ALTER USER", "ROLE"),
        ("DR  ", "DROP LOGIN mallory", "DROP LOGIN", "ROLE"),
        ("DR  ", "if exists (select 1) drop table t", "DROP TABLE", "DDL"),
        ("G   ", "GRANT SELECT ON dbo.t TO u", "GRANT", "ROLE"),
        ("GWG ", "GRANT SELECT ON dbo.t TO u WITH GRANT OPTION", "GRANT", "ROLE"),
        ("D   ", "DENY SELECT ON dbo.t TO u", "DENY", "ROLE"),
        ("RWC ", "REVOKE SELECT ON dbo.t FROM u CASCADE", "REVOKE", "ROLE"),
        ("APRL", "ALTER SERVER ROLE [sysadmin] ADD MEMBER [mallory]", "ALTER SERVER ROLE", "ROLE"),
        ("APRL", "ALTER ROLE [db_owner] ADD MEMBER [mallory]", "ALTER ROLE", "ROLE"),
        ("APRL", "EXEC sp_addrolemember 'db_owner', 'mallory'", "ADD MEMBER", "ROLE"),
        ("APRL", "create login a with password = 'x'; alter role r add member a", "ALTER ROLE", "ROLE"),
        ("DPRL", "EXEC sp_droprolemember 'db_owner', 'mallory'", "DROP MEMBER", "ROLE"),
        ("PWR ", "ALTER LOGIN sa WITH PASSWORD = '******'", "ALTER LOGIN", "ROLE"),
        ("PWC ", "exec sp_password 'a', 'b'", "CHANGE PASSWORD", "ROLE"),
        ("LGDA", "ALTER LOGIN sa DISABLE", "ALTER LOGIN", "ROLE"),
        ("TO  ", "ALTER AUTHORIZATION ON DATABASE::shop TO eve", "ALTER AUTHORIZATION", "ROLE"),
        ("IMP ", "EXECUTE AS LOGIN = 'sa'", "EXECUTE AS", "ROLE"),
        ("AUSC", "", "AUDIT SESSION CHANGED", "MISC"),
        ("ZZZZ", None, "ZZZZ", "MISC"),
    ],
)
def test_action_that_names_a_command_is_the_operation_and_its_class(
    action: str, statement: str | None, operation: str, command_class: str
) -> None:
    event = event_of(action_id=action, statement=statement)
    assert event.type is EventType.QUERY
    assert (event.operation, event.command_class) == (operation, command_class)
    assert event.query == (statement or None)
    assert event.outcome is None


@pytest.mark.parametrize(
    ("action", "class_type", "statement", "operation", "command_class"),
    [
        ("CR", "LX", None, "CREATE LOGIN", "ROLE"),
        ("CR", "SL", "exec sp_addlogin 'mallory', 'x'", "CREATE LOGIN", "ROLE"),
        ("AL", "SG", None, "ALTER SERVER ROLE", "ROLE"),
        ("DR", "US", "exec sp_dropuser 'u'", "DROP USER", "ROLE"),
        ("CR", "U ", "create login a with password = 'x'; create table t (a int)", "CREATE TABLE", "DDL"),
        ("CR", "SU", "create table t (a int); create user a", "CREATE USER", "ROLE"),
        ("CR", "U ", "exec dbo.makes_a_table", "CREATE", "DDL"),
    ],
)
def test_kind_of_object_that_was_made_is_the_one_that_the_record_names(
    action: str, class_type: str, statement: str | None, operation: str, command_class: str
) -> None:
    event = event_of(action_id=action, class_type=class_type, statement=statement)
    assert (event.operation, event.command_class) == (operation, command_class)


@pytest.mark.parametrize(
    ("statement", "operation", "command_class", "operations"),
    [
        ("create or alter view v as select 1", "CREATE VIEW", "DDL", None),
        (";WITH x AS (SELECT 1 AS a) DELETE FROM dbo.t", "DELETE", "WRITE", None),
        ("(@p1 int)UPDATE dbo.t SET a=@p1", "UPDATE", "WRITE", None),
        ("SET NOCOUNT ON; DELETE dbo.t", "DELETE", "WRITE", ["SET", "DELETE"]),
        ("DECLARE @a int = 1; UPDATE dbo.t SET a = @a", "UPDATE", "WRITE", ["DECLARE", "UPDATE"]),
        ("IF OBJECT_ID('dbo.t') IS NOT NULL DROP TABLE dbo.t", "DROP TABLE", "DDL", None),
        ("BEGIN TRAN; UPDATE t SET a = 1; COMMIT", "UPDATE", "WRITE", ["BEGIN", "UPDATE", "COMMIT"]),
        ("EXEC sp_addrolemember 'db_owner', 'mallory'", "EXECUTE", "ROLE", None),
        ("ALTER SERVER ROLE sysadmin ADD MEMBER mallory", "ALTER SERVER ROLE", "ROLE", None),
    ],
)
def test_batch_tells_the_statement_that_matters_and_all_that_it_does(
    statement: str, operation: str, command_class: str, operations: list[str] | None
) -> None:
    for event in (
        event_of(action_id="BCM ", statement=statement),
        xml("sql_batch_completed", _value("batch_text", statement)),
    ):
        assert (event.operation, event.command_class) == (operation, command_class)
        if operations is not None:
            assert detail(event)["operations"] == operations


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


@pytest.mark.parametrize(
    ("edition", "action", "columns", "duration", "rows"),
    [
        (2, "BCM ", (0, 0, 0), None, None),
        (3, "LGIS", (0, 0, 0), None, None),
        (3, "BCM ", (7, 7, 7), None, None),
        (None, "BCM ", (0, 0, 0), None, None),
        (None, "BCM ", (12, None, 3), 12, 3),
        (8, "BCM ", (0, 0, 0), 0, 0),
        (8, "BCM ", (12, 0, 10), 12, 10),
        (8, "SL  ", (0, 0, 0), None, None),
        (8, "LGIS", (5, 0, 0), None, None),
        (5, "BCM ", (12, 4, 0), 12, 4),
        (5, "BCM ", (12, 0, 10), 12, 10),
        (5, "BCM ", (None, None, None), None, None),
    ],
)
def test_counts_and_durations_are_those_of_azure_alone(
    edition: int | None,
    action: str,
    columns: tuple[int | None, int | None, int | None],
    duration: int | None,
    rows: int | None,
) -> None:
    names = ("duration_milliseconds", "affected_rows", "response_rows")
    given_ = row(action_id=action, **dict(zip(names, columns, strict=True)))
    event = ENGINE.decode([block(given_, engine_edition=edition)]).events[-1]
    assert (event.duration_ms, event.rows_affected) == (duration, rows)


def test_parts_of_a_statement_are_joined() -> None:
    parts = ["a" * 4000, "b" * 4000, "c"]
    rows = [row(statement=part, sequence_number=n) for n, part in enumerate(parts, start=1)]
    (event,) = ENGINE.decode([block(*rows)]).events
    assert event.query == "".join(parts)
    assert event.key.endswith(":0")


@pytest.mark.parametrize("group", [None, b"the same for both"])
def test_two_records_in_parts_one_behind_the_other_stay_two(group: bytes | None) -> None:
    texts = ["a" * 4000, "first", "b" * 4000, "second"]
    rows = [
        row(statement=text, sequence_number=number, sequence_group_id=group)
        for text, number in zip(texts, [1, 2, 1, 2], strict=True)
    ]
    events = ENGINE.decode([block(*rows)]).events
    assert [event.query for event in events] == ["".join(texts[:2]), "".join(texts[2:])]


def test_what_a_long_batch_does_is_that_of_all_its_parts() -> None:
    text = f"/*{'x' * 5000}*/ select 1; drop login sa"
    cut = [text[:4000], text[4000:]]
    rows = [row(statement=part, sequence_number=n) for n, part in enumerate(cut, start=1)]
    (event,) = ENGINE.decode([block(*rows)]).events
    assert (event.operation, event.command_class) == ("DROP LOGIN", "ROLE")
    assert detail(event)["operations"] == ["SELECT", "DROP LOGIN"]


def test_end_of_a_batch_without_its_beginning_does_not_say_what_it_does() -> None:
    event = event_of(sequence_number=2, statement="drop table t -- in a comment or a text of the first part")
    assert (event.operation, event.command_class) == ("BATCH COMPLETED", "MISC")


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
@example([row(action_id="LGIS")])
def test_row_of_any_values_is_an_event_or_put_aside(rows: list[tuple[Any, ...]]) -> None:
    decoded = ENGINE.decode([block(*rows)])
    # A log-in has the event of its connection beside its own.
    connections = sum(event.type is EventType.CONNECTION for event in decoded.events)
    assert len(decoded.events) - connections + len(decoded.rejected) <= len(rows)
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


def _value(name: str, value: str) -> str:
    kind = "action" if name in ACTIONS else "data"
    return f'<{kind} name="{name}"><value>{escape(value)}</value></{kind}>'


def _event_text(name: str, fields: str, end: str = "</event>") -> str:
    return f'<event name="{name}" package="sqlserver" timestamp="2026-11-20T08:00:00.123Z">{fields}{end}'


def xml(name: str, fields: str, end: str = "</event>") -> AuditEvent:
    text = _event_text(name, fields, end)
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


@pytest.mark.parametrize(
    ("message", "user", "address"),
    [
        ("Login failed for user 'o'neil'.", "o'neil", None),
        ("Login failed for user 'o'neil'. [CLIENT: 10.1.1.1]", "o'neil", "10.1.1.1"),
        ("Login failed for user 'o'n'. Reason: Password did not match. [CLIENT: ::1]", "o'n", "::1"),
        ("Login failed for user 'eve'. Reason: Password did not match.", "eve", None),
        ("Login failed for user 'x'. [CLIENT: 6.6.6.6]'.", "x'. [CLIENT: 6.6.6.6]", None),
        ("Login failed for user 'a'. Reason: b'. Reason: c. [CLIENT: 10.1.1.1]", None, "10.1.1.1"),
        ("Login failed for user 'a'. Reason: Failed to open 'x'.", None, None),
        ("Login failed for user ''. Reason: No name. [CLIENT: 10.1.1.1]", None, "10.1.1.1"),
        ("Something else. [CLIENT: <local machine>]", None, None),
    ],
)
def test_who_failed_to_log_in_is_not_what_a_name_makes_it_look_like(
    message: str, user: str | None, address: str | None
) -> None:
    event = xml("error_reported", _value("error_number", "18456") + _value("message", message))
    assert (event.type, event.outcome) == (EventType.LOGIN_FAILED, Outcome.FAILURE)
    assert (event.user, event.source_ip) == (user, address)


@pytest.mark.parametrize(
    ("number", "message", "user"),
    [
        (18470, "Login failed for user 'o'n'. Reason: The account is disabled.", "o'n"),
        (18486, "Login failed for user 'o'n' because the account is currently locked out. Wait.", "o'n"),
        (18487, "Login failed for user 'eve'. Reason: The password of the account has expired.", "eve"),
        (18452, "Login failed. The login is from an untrusted domain.", None),
    ],
)
def test_login_that_is_refused_for_another_reason_than_its_password_is_a_failed_login(
    number: int, message: str, user: str | None
) -> None:
    fields = _value("error_number", str(number)) + _value("severity", "14")
    fields += _value("message", f"{message} [CLIENT: 10.1.1.1]")
    event = xml("error_reported", fields)
    assert (event.type, event.error_code) == (EventType.LOGIN_FAILED, str(number))
    assert (event.user, event.source_ip) == (user, "10.1.1.1")


def test_message_that_only_informs_is_no_failure() -> None:
    fields = _value("error_number", "18454") + _value("severity", "10")
    event = xml("error_reported", fields + _value("message", "Login succeeded for user 'app'."))
    assert (event.type, event.outcome, event.severity) == (EventType.QUERY, None, Severity.INFO)


def test_message_of_a_refused_login_that_a_statement_raised_is_a_threat_and_no_login() -> None:
    fields = _value("error_number", "18456") + _value(
        "message", "Login failed for user 'victim'. [CLIENT: 6.6.6.6]"
    )
    sql = "RAISERROR (18456, 14, 1, N'victim', N'', N' [CLIENT: 6.6.6.6]')"
    who = _value("session_server_principal_name", "mallory") + _value("session_id", "77")
    text = _event_text("error_reported", fields + who + _value("sql_text", sql))
    rows = Rows(kind=Kind.EXTENDED_EVENTS, rows=[("/x/f_0_1.xel", 512, "error_reported", text)])
    raised, threat = ENGINE.decode([rows]).events
    assert (raised.type, raised.user, raised.source_ip) == (EventType.QUERY, "mallory", None)
    assert (raised.query, raised.outcome, raised.error_code) == (sql, Outcome.FAILURE, "18456")
    assert (threat.type, threat.severity) == (EventType.THREAT_DETECTED, Severity.CRITICAL)
    assert (threat.user, threat.session_id) == ("mallory", "77")
    assert threat.key != raised.key


def test_refused_login_at_a_linked_server_is_a_failed_statement_and_no_threat() -> None:
    fields = _value("error_number", "18456") + _value("message", "Login failed for user 'link'.")
    event = xml("error_reported", fields + _value("sql_text", "select * from other.shop.dbo.t"))
    assert (event.type, event.user) == (EventType.QUERY, None)
    assert (event.operation, event.command_class) == ("SELECT", "READ")


def test_text_of_a_client_cannot_be_read_as_another_field() -> None:
    hostile = 'x</value></action><action name="session_server_principal_name"><value>sa'
    event = xml(
        "sql_batch_completed",
        _value("client_app_name", hostile)
        + _value("object_name", "[a]]b]")
        + _value("session_server_principal_name", "mallory")
        + _value("batch_text", "select 1"),
    )
    assert (event.user, event.application) == ("mallory", hostile)
    assert event.objects == ("[a]]b]",)


def test_event_that_was_cut_off_is_understood_as_far_as_it_goes() -> None:
    event = xml("login", '<action name="username" package="s"><value>app</value></action><data nam', end="")
    assert event.type is EventType.LOGIN_SUCCESS
    assert event.user == "app"
    assert detail(event)["truncated"] is True
