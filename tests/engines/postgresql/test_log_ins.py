"""A log-in is one that happened, whatever else its session logs meanwhile."""

from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, events_of, failing, record

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
OPENING: dict[str, Any] = {"ps": "authentication", "application_name": None, "vxid": "9/1"}
NOBODY = dict.fromkeys(("user", "dbname", "application_name"))
MET = record("connection received: host=10.0.0.7 port=51514", ps="", **NOBODY)
PROVEN = 'connection authenticated: identity="root" method={} (/etc/pg_hba.conf:1)'
BETWEEN = (
    "provided user name (app) and authenticated user name (root) do not match",
    'no match in usermap "x" for user "app" authenticated as "root"',
    "could not perform LDAP search",
    "pam_authenticate failed",
    "a message that nobody knows",
)


def refused(code: str, **changes: Any) -> dict[str, Any]:
    return failing(None, code, error_severity="FATAL", line=9, **(OPENING | changes))


def kinds(events: list[AuditEvent]) -> list[EventType]:
    return [e.type for e in events]


@BOTH
@pytest.mark.parametrize("method", ["peer", "cert", "ident", "gss", "sspi"])
@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("at_ms", [1, 45_000])
def test_identity_that_may_not_log_in_as_the_user_it_asked_for_did_not_log_in(
    log_format: LogFileFormat, method: str, between: str, at_ms: int
) -> None:
    events = events_of(
        log_format,
        MET,
        record(PROVEN.format(method), line=2, **OPENING),
        record(between, line=3, at_ms=at_ms, **OPENING),
        refused("28000", at_ms=at_ms),
    )
    assert kinds(events) == [EventType.CONNECTION, EventType.LOGIN_FAILED]
    assert (events[1].error_code, events[1].user) == ("28000", "app")
    assert events[1].detail == {"message": "it failed", "identity": "root", "method": method}


@BOTH
@pytest.mark.parametrize("code", ["3D000", "42501", "53300", "55000", "57P03"])
def test_log_in_that_is_refused_after_its_authorization_did_not_happen(
    log_format: LogFileFormat, code: str
) -> None:
    events = events_of(
        log_format,
        record(PROVEN.format("md5"), **OPENING),
        record("connection authorized: user=app database=shop", line=2, at_ms=900, **OPENING),
        record("a message that nobody knows", line=3, at_ms=1900, **OPENING),
        refused(code, ps="startup", at_ms=2900),
    )
    assert kinds(events) == [EventType.LOGIN_FAILED]


@BOTH
def test_slow_log_in_is_one(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        record(PROVEN.format("ldap"), **OPENING),
        record("a message that nobody knows", line=2, **OPENING),
        record("connection authorized: user=app database=shop", line=3, at_ms=30_000, **OPENING),
        audit("select 1", line=4, at_ms=31_000),
    )
    assert kinds(events) == [EventType.LOGIN_SUCCESS, EventType.QUERY]
    assert events[0].detail == {"identity": "root", "method": "ldap"}


@BOTH
def test_log_in_whose_authorization_is_read_later_is_that_of_its_authorization(
    log_format: LogFileFormat,
) -> None:
    first = events_of(log_format, record(PROVEN.format("md5"), **OPENING), log_ins_authorized=True)
    later = events_of(
        log_format,
        record("connection authorized: user=app database=shop", line=2, **OPENING),
        log_ins_authorized=True,
    )
    assert (kinds(first), kinds(later)) == ([], [EventType.LOGIN_SUCCESS])


@BOTH
def test_log_in_without_authorization_shows_where_that_is_not_logged(log_format: LogFileFormat) -> None:
    proven = record(PROVEN.format("md5"), **OPENING)
    assert kinds(events_of(log_format, proven)) == [EventType.LOGIN_SUCCESS]
    events = events_of(log_format, proven, audit("select 1", line=2), log_ins_authorized=True)
    assert kinds(events) == [EventType.LOGIN_SUCCESS, EventType.QUERY]


@BOTH
def test_client_that_leaves_before_it_is_authorized_did_not_log_in(log_format: LogFileFormat) -> None:
    gone = record("disconnection: session time: 0:00:00.100 user=app", line=2, **OPENING)
    proven = record(PROVEN.format("md5"), **OPENING)
    assert kinds(events_of(log_format, proven, gone, log_ins_authorized=True)) == [EventType.DISCONNECT]
