"""Collecting from live servers of each release: the log by getLog and from the disk, and the profiler."""

import contextlib
import logging

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import DiagnosisStatus
from dbaudit.engine import EventType
from pymongo.errors import OperationFailure

from tests.engines.mongodb.conftest import DATABASE, USER, USER_PASSWORD, OnServer, collecting, told
from tests.engines.mongodb.targets import target
from tests.servers.mongodb import MongoServer


@pytest.mark.parametrize("source", ["remote", "local"])
def test_what_a_user_does_is_told_with_user_and_application(each_release: MongoServer, source: str) -> None:
    with collecting(each_release, log_source=source) as reading:
        with each_release.client(
            username=USER, password=USER_PASSWORD, authSource=DATABASE, appname="shop"
        ) as client:
            client[DATABASE]["orders"].insert_one({"_id": source})
            assert client[DATABASE]["orders"].find_one({"_id": source})
            client[DATABASE]["orders"].update_one({"_id": source}, {"$set": {"paid": True}})
            with contextlib.suppress(OperationFailure):
                client["other"]["secrets"].find_one({})
        reading.until(lambda: told(reading, EventType.DISCONNECT).count((USER, "shop", None, None)), "all")
        reading.until(lambda: len(reading.of(USER, EventType.QUERY)) >= 4, "the statements")
    assert (USER, "shop", "success", None) in told(reading, EventType.LOGIN_SUCCESS)
    statements = {(e.operation, e.database, e.error_code) for e in reading.of(USER, EventType.QUERY)}
    assert statements == {
        ("insert", DATABASE, None),
        ("find", DATABASE, None),
        ("update", DATABASE, None),
        ("find", "other", "Unauthorized"),
    }
    assert all(e.source_ip == "127.0.0.1" for e in reading.of(USER))
    assert reading.rejected == []
    assert reading.gaps == []


def test_statements_of_others_are_in_no_log_of_the_driver(
    each_release: MongoServer, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        collecting(each_release, log_source="remote") as reading,
    ):
        caplog.clear()
        reading.session.test()
        reading.read()
        written = [record.name for record in caplog.records]
    assert not [name for name in written if name.startswith("pymongo")]


def test_failed_logins_are_told_once_each(each_release: MongoServer) -> None:
    with collecting(each_release, log_source="remote") as reading:
        for user, source in ((USER, DATABASE), ("nosuch", "admin")):
            refused = each_release.client(username=user, password="wrong", authSource=source)
            with refused as client, contextlib.suppress(OperationFailure):
                client.admin.command("ping")
        reading.until(lambda: reading.of("nosuch", EventType.LOGIN_FAILED), "the failures")
        reading.read()
    assert told(reading, EventType.LOGIN_FAILED) == [
        (USER, "test", "failure", "AuthenticationFailed"),
        ("nosuch", "test", "failure", "UserNotFound"),
    ]


def test_restart_is_a_gap_by_getlog_and_none_from_the_disk(each_release: MongoServer) -> None:
    with (
        collecting(each_release, log_source="remote") as remote,
        collecting(each_release, log_source="local") as local,
    ):
        remote.read()
        local.read()
        for reading in (remote, local):
            reading.session.close()
        each_release.restart()
        for reading in (remote, local):
            reading.reopen()
            with each_release.client(username=USER, password=USER_PASSWORD, authSource=DATABASE) as client:
                client.admin.command("ping")
            reading.until(lambda reading=reading: reading.of(USER, EventType.LOGIN_SUCCESS), "the log-in")  # type: ignore[misc]
        assert [gap.detail and gap.detail["lost_records"] for gap in remote.gaps] == [None]
        assert local.gaps == []


def test_overrun_of_the_memory_is_told_with_the_exact_number(each_release: MongoServer) -> None:
    with collecting(each_release, log_source="remote") as reading, each_release.client() as client:
        client.admin.command("profile", 0, slowms=-1)
        try:
            reading.read()
            before = client.admin.command("getLog", "global")["totalLinesWritten"]
            for number in range(1200):
                client[DATABASE]["others"].find_one({"number": number})
            reading.until(lambda: reading.gaps, "the gap")
        finally:
            client.admin.command("profile", 0, slowms=100)
    (gap,) = reading.gaps
    lost = (gap.detail or {})["lost_records"]
    numbers = [int(e.key.rpartition(":")[2]) for e in reading.events if ":ring:" in e.key]
    # Of the lines after the first ones that were read, none is neither told of nor counted.
    assert lost > 100
    assert before <= min(n for n in numbers if n >= before)
    assert int(gap.key.rpartition(":")[2]) + lost <= max(numbers)


def test_profiler_that_wraps_is_told_with_the_exact_number(each_release: MongoServer) -> None:
    name = "wraps"
    with each_release.client() as client:
        client[name].command("profile", 0)
        client[name].drop_collection("system.profile")
        client[name].create_collection("system.profile", capped=True, size=65536)
        client[name].command("profile", 2)
        with collecting(each_release, log_source="remote") as reading:
            client[name]["things"].insert_one({"number": -1})
            reading.until(lambda: any(e.database == name for e in reading.events), "the first statement")
            for number in range(400):
                client[name]["things"].find_one({"number": number})
            reading.until(lambda: reading.gaps, "the gap")
            reading.until(lambda: any('"number": 399' in (e.query or "") for e in reading.events), "the last")
        client[name].command("profile", 0)
    (gap,) = reading.gaps
    found = [e for e in reading.events if e.database == name and e.operation == "find"]
    numbers = [int(e.key.rpartition(":")[2]) for e in found]
    lost = (gap.detail or {})["lost_records"]
    assert 0 < lost < 400
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    # Some of the lost ones are the agent's own questions.
    assert 400 <= len(found) + lost <= 420


def test_report_names_the_version_and_what_would_be_better(each_release: MongoServer) -> None:
    with OnServer.engine.open(target(each_release, options={"log_source": "remote"})) as session:
        report = session.test()
        health = session.health()
    assert report.success
    assert report.version == f"MongoDB {each_release.release} (Community)"
    by_code = {diagnosis.code: diagnosis for diagnosis in report.diagnoses}
    supported = DiagnosisStatus.WARNING if each_release.release < "5" else DiagnosisStatus.OK
    assert by_code["server_version"].status is supported
    assert by_code["server_log"].status is DiagnosisStatus.WARNING
    assert health.disk_free_ratio is not None


def test_user_of_another_database_is_told_of_the_option(each_release: MongoServer) -> None:
    given = target(each_release, database=DATABASE)
    with pytest.raises(ConfigurationError) as raised:
        OnServer.engine.open(given)
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
    assert "auth_source" in (raised.value.remedy or "")
    OnServer.engine.open(target(each_release, database=DATABASE, options={"auth_source": "admin"})).close()
