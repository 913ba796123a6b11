"""Decoding rows of the trail: what each becomes, and that no row stops the others."""

import datetime
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.oracle import decoding, trail
from dbaudit.engines.oracle.decoding import decode
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.oracle.recorded import ADDRESS, BEGIN


def row_of(action: Any = "SELECT", **values: Any) -> tuple[Any, ...]:
    known = {
        "DBID": 1234567890,
        "INSTANCE_ID": 1,
        "SESSIONID": 3111222001,
        "ENTRY_ID": 7,
        "STATEMENT_ID": 12,
        "SCN": 99,
        "OS_PROCESS": "4711",
        "AUDIT_TYPE": "Standard",
        "ACTION_NAME": action,
        "RETURN_CODE": 0,
        "DBUSERNAME": "BOB",
        **values,
    }
    return (BEGIN, *(known.get(name) for name in trail.COLUMNS), "SHOP")


def event_of(action: Any = "SELECT", **values: Any) -> AuditEvent:
    decoded = decode([row_of(action, **values)])
    assert decoded.rejected == []
    *of_its_connection, event = decoded.events
    is_log_in = event.type is EventType.LOGIN_SUCCESS
    assert [one.type for one in of_its_connection] == [EventType.CONNECTION] * is_log_in
    return event


def test_a_failed_log_in_has_its_code_and_the_client_address() -> None:
    event = event_of(
        "LOGON",
        RETURN_CODE=1017,
        USERHOST="ws9",
        OS_USERNAME="bob",
        CLIENT_PROGRAM_NAME="sqlplus",
        AUTHENTICATION_TYPE=ADDRESS.format(method="DATABASE"),
    )
    assert (event.type, event.severity, event.outcome) == (
        EventType.LOGIN_FAILED,
        Severity.WARNING,
        Outcome.FAILURE,
    )
    assert event.error_code == "ORA-01017"
    assert (event.source_ip, event.source_port, event.source_host) == ("10.0.0.9", 40112, "ws9")
    assert (event.user, event.application, event.session_id) == ("BOB", "sqlplus", "3111222001")
    assert event.detail == {"os_user": "bob", "method": "DATABASE"}
    assert event.time_us == int(BEGIN.replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000 + 4512


@pytest.mark.parametrize(
    ("action", "code", "kind"),
    [
        ("LOGON", 0, EventType.LOGIN_SUCCESS),
        ("LOGON", 28000, EventType.LOGIN_FAILED),
        ("LOGON", 28001, EventType.LOGIN_FAILED),
        ("LOGON", 1045, EventType.LOGIN_FAILED),
        ("LOGOFF", 0, EventType.DISCONNECT),
        ("LOGOFF BY CLEANUP", 0, EventType.DISCONNECT),
        ("SELECT", 942, EventType.QUERY),
        (None, 0, EventType.QUERY),
        ("", 0, EventType.QUERY),
    ],
)
def test_the_action_and_its_code_decide_what_it_is(action: Any, code: int, kind: EventType) -> None:
    event = event_of(action, RETURN_CODE=code)
    assert event.type is kind
    assert event.outcome is (Outcome.FAILURE if code else Outcome.SUCCESS)


def test_a_statement_has_its_text_its_binds_and_its_object() -> None:
    event = event_of(
        "SELECT",
        SQL_TEXT="select * from t where id=:1\0",
        SQL_BINDS=" #1(2):42",
        OBJECT_SCHEMA="SHOP",
        OBJECT_NAME="T",
        UNIFIED_AUDIT_POLICIES="P1, P2",
        SYSTEM_PRIVILEGE_USED="SELECT ANY TABLE",
        INSTANCE_ID=2,
        AUDIT_TYPE="FineGrainedAudit",
    )
    assert (event.operation, event.command_class) == ("SELECT", "READ")
    assert event.query == "select * from t where id=:1"
    assert event.parameters == ("42",)
    assert event.objects == ("SHOP.T",)
    assert event.database == "SHOP"
    assert event.detail == {
        "audit_type": "FineGrainedAudit",
        "policies": "P1, P2",
        "privilege": "SELECT ANY TABLE",
        "instance": 2,
    }


@pytest.mark.parametrize(
    ("action", "operation", "command_class"),
    [
        ("CREATE TABLE", "CREATE TABLE", "DDL"),
        ("TRUNCATE TABLE", "TRUNCATE TABLE", "WRITE"),
        ("CREATE USER", "CREATE USER", "ROLE"),
        ("ALTER ROLE", "ALTER ROLE", "ROLE"),
        ("ALTER PROFILE", "ALTER PROFILE", "ROLE"),
        ("CREATE LOCKDOWN PROFILE", "CREATE LOCKDOWN PROFILE", "DDL"),
        ("CHANGE PASSWORD", "CHANGE PASSWORD", "ROLE"),
        ("PASSWORD CHANGE", "CHANGE PASSWORD", "ROLE"),
        ("GRANT", "GRANT", "ROLE"),
        ("SYSTEM GRANT", "GRANT", "ROLE"),
        ("REVOKE ROLE", "REVOKE", "ROLE"),
        ("CODE-BASED GRANT", "GRANT", "ROLE"),
        ("SET ROLE", "SET ROLE", "ROLE"),
        ("SET TRANSACTION", "SET TRANSACTION", "MISC"),
        ("BECOME USER", "BECOME USER", "ROLE"),
        ("EXECUTE", "EXECUTE", "FUNCTION"),
        ("EXECUTE PROCEDURE", "EXECUTE PROCEDURE", "FUNCTION"),
        ("PL/SQL EXECUTE", "PL/SQL EXECUTE", "FUNCTION"),
        ("SELECT MINING MODEL", "SELECT MINING MODEL", "READ"),
        ("SQL*LOADER DIRECT PATH LOAD", "SQL*LOADER DIRECT PATH LOAD", "WRITE"),
        ("EXPORT", "EXPORT", "READ"),
        ("IMPORT", "IMPORT", "WRITE"),
        ("ALTER SYSTEM", "ALTER SYSTEM", "DDL"),
        ("ALTER SESSION", "ALTER SESSION", "MISC"),
        ("UPDATE INDEXES", "UPDATE INDEXES", "DDL"),
        ("AUDIT", "AUDIT", "MISC"),
        ("SYSTEM AUDIT", "AUDIT", "MISC"),
        ("ADMINISTER KEY MANAGEMENT", "ADMINISTER KEY MANAGEMENT", "DDL"),
        ("DECLARE REWRITE EQUIVALENCE", "DECLARE REWRITE EQUIVALENCE", "DDL"),
        ("PROXY AUTHENTICATION ONLY", "PROXY AUTHENTICATION ONLY", "ROLE"),
        ("SOMETHING OF A LATER VERSION", "SOMETHING OF A LATER VERSION", "MISC"),
    ],
)
def test_an_action_has_its_operation_and_class_in_either_trail(
    action: str, operation: str, command_class: str
) -> None:
    event = event_of(action)
    assert (event.operation, event.command_class) == (operation, command_class)
    assert (event.detail or {}).get("action") == (action if action != operation else None)


def test_a_code_that_is_not_there_is_no_success() -> None:
    event = event_of("SELECT", RETURN_CODE=None)
    assert (event.outcome, event.error_code) == (None, None)


def test_a_log_on_whose_code_is_not_there_is_a_connection_and_no_log_in() -> None:
    event = event_of("LOGON", RETURN_CODE=None)
    assert (event.type, event.outcome) == (EventType.CONNECTION, None)


def test_a_grant_of_a_role_names_the_role_and_who_got_it() -> None:
    event = event_of("GRANT", ROLE="DBA", TARGET_USER="MALLORY", SYSTEM_PRIVILEGE_USED="GRANT ANY ROLE")
    assert event.objects == ("DBA", "MALLORY")
    assert event.detail == {"privilege": "GRANT ANY ROLE", "role": "DBA", "target_user": "MALLORY"}


def test_a_grant_on_an_object_names_the_object_and_who_got_it() -> None:
    event = event_of(
        "GRANT", OBJECT_SCHEMA="HR", OBJECT_NAME="PAY", TARGET_USER="BOB", OBJECT_PRIVILEGES="SELECT"
    )
    assert event.objects == ("HR.PAY",)
    assert event.detail == {"target_user": "BOB", "object_privileges": "SELECT"}


@pytest.mark.parametrize(
    ("action", "codes", "outcome", "error"),
    [
        ("Realm Violation Audit", {"RETURN_CODE": 1031, "DV_RETURN_CODE": 1031}, "failure", "ORA-01031"),
        ("Realm Violation Audit", {"RETURN_CODE": 0, "DV_RETURN_CODE": 47401}, "failure", "ORA-47401"),
        ("Realm Violation Audit", {"RETURN_CODE": None}, "failure", None),
        ("Realm Success Audit", {"RETURN_CODE": None, "DV_RETURN_CODE": 0}, "success", None),
        ("Realm Authorization Audit", {"RETURN_CODE": None}, None, None),
    ],
)
def test_what_database_vault_decided_is_the_outcome(
    action: str, codes: dict[str, Any], outcome: str | None, error: str | None
) -> None:
    event = event_of(
        "SELECT", AUDIT_TYPE="Database Vault", DV_ACTION_NAME=action, DV_RULE_SET_NAME="Pay", **codes
    )
    assert (event.outcome, event.error_code) == (outcome, error)
    assert event.severity is (Severity.WARNING if outcome == "failure" else Severity.INFO)
    assert event.detail is not None
    assert event.detail["vault_action"] == action
    assert event.detail["vault_rule_set"] == "Pay"


def test_fine_grained_auditing_names_its_policy_and_rman_and_data_pump_what_they_did() -> None:
    fine = event_of("SELECT", AUDIT_TYPE="FineGrainedAudit", FGA_POLICY_NAME="SALARIES")
    assert fine.detail == {"audit_type": "FineGrainedAudit", "fga_policy": "SALARIES"}
    backup = event_of("RMAN ACTION", RMAN_OPERATION="Backup", RMAN_OBJECT_TYPE="DB Full")
    assert backup.detail == {"rman_operation": "Backup", "rman_object_type": "DB Full"}
    export = event_of("EXPORT", DP_TEXT_PARAMETERS1="JOB_TYPE: EXPORT, DUMPER DIRECTORY: NULL")
    assert export.detail == {"data_pump_parameters": "JOB_TYPE: EXPORT, DUMPER DIRECTORY: NULL"}


def test_who_a_statement_ran_as_is_named_beside_who_logged_in() -> None:
    assert (event_of(CURRENT_USER="SYS").detail or {})["acting_as"] == "SYS"
    assert event_of(CURRENT_USER="BOB").detail is None


@pytest.mark.parametrize(
    ("authentication", "client"),
    [
        (
            "(TYPE=(DATABASE));(CLIENT ADDRESS=((PROTOCOL=tcps)(HOST=fe80::1%eth0)(PORT=65535)));",
            ("fe80::1%eth0", 65535),
        ),
        ("(TYPE=(OS));(CLIENT ADDRESS=((PROTOCOL=beq)));", (None, None)),
        ("(HOST=h)(PORT=99999)", ("h", None)),
        ("DATABASE", (None, None)),
    ],
)
def test_the_client_address_is_read_from_the_authentication(authentication: str, client: Any) -> None:
    event = event_of("LOGON", AUTHENTICATION_TYPE=authentication)
    assert (event.source_ip, event.source_port) == client


@pytest.mark.parametrize(
    ("binds", "values"),
    [
        (" #1(2):42 #2(5):a #3( #3(0):", ("42", "a #3(", None)),
        (" #1(9):cut", ("cut",)),
        (" #1(2):ä日本 #2(1):x", ("ä日本", "x")),
        ("something else", ("something else",)),
    ],
)
def test_bind_values_are_told_apart(binds: str, values: Any) -> None:
    assert event_of(SQL_BINDS=binds).parameters == values


def test_a_row_that_cannot_be_decoded_is_put_aside_and_the_others_are_decoded() -> None:
    good = row_of()
    decoded = decode([good, good[:5], None, (None, *good[1:]), row_of(RETURN_CODE="x"), good])
    assert len(decoded.events) == 2
    assert [rejected.position for rejected in decoded.rejected].count("unknown") == 2
    assert all(rejected.reason and rejected.raw for rejected in decoded.rejected)


VALUES = st.one_of(
    st.none(), st.integers(), st.text(max_size=20), st.floats(), st.binary(max_size=5), st.datetimes(),
    st.text(alphabet=" #0123456789():ax", max_size=30),
)  # fmt: skip


@given(
    st.lists(
        st.one_of(st.tuples(*[VALUES] * trail.WIDTH), st.lists(VALUES, max_size=30).map(tuple), VALUES),
        max_size=3,
    )
)
@settings(max_examples=100, deadline=None)
def test_no_row_whatever_is_in_it_stops_the_decoder(rows: list[Any]) -> None:
    decoded = decode(rows)
    assert len(decoded.events) + len(decoded.rejected) == len(rows)


@given(st.sampled_from(trail.COLUMNS), st.text(max_size=50))
@settings(max_examples=300, deadline=None)
def test_hostile_text_in_a_column_makes_an_event_or_is_put_aside(column: str, text: str) -> None:
    decoded = decode([row_of(**{"action" if column == "ACTION_NAME" else column: text})])
    assert len(decoded.events) + len(decoded.rejected) == 1


def test_keys_are_those_of_the_source() -> None:
    assert event_of().key == "1234567890.1.3111222001.7.12.99.4711"
    assert decoding.decode([(*row_of(), 1)]).events[0].key == "1234567890.1.3111222001.7.12.99.4711.1"
