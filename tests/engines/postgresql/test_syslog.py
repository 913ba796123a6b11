"""The text log behind a syslog daemon: pieces of several processes, put together and never guessed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.report import DiagnosisStatus
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.options import Options
from dbaudit.engines.postgresql.prefix_checks import RECOMMENDED
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat, SyslogForm

from tests.conftest import missing_engine_is_told
from tests.engines.postgresql import workload
from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.documented import documented
from tests.engines.postgresql.targets import changing
from tests.servers.postgresql import PostgresServer
from tests.servers.rsyslog import FILES, RsyslogServer

DEBIAN = "%m [%p] %q%u@%d "
NUMBERED = SyslogForm()


@pytest.fixture(scope="module")
def rsyslog() -> Iterator[RsyslogServer]:
    with missing_engine_is_told(), RsyslogServer() as started:
        yield started


@pytest.fixture(scope="module")
def server(rsyslog: RsyslogServer) -> Iterator[PostgresServer]:
    """One that writes to syslog, and the same records to csvlog."""
    settings = {
        "log_destination": "syslog,csvlog",
        "log_line_prefix": RECOMMENDED,
        "pgaudit.log": "all, -misc",
    }
    with PostgresServer(17, pgaudit=True, settings=settings) as started, collector_on(started):
        yield started


@pytest.fixture
def configured(server: PostgresServer) -> Iterator[Callable[..., PostgresServer]]:
    """The server with other settings."""
    change = changing(server)
    yield change
    change(log_line_prefix=RECOMMENDED, syslog_sequence_numbers="on", syslog_split_messages="on")


def syslog_of(server: PostgresServer, file: Path, **options: str) -> Collecting:
    return Collecting(server, log_format="syslog", log_file=str(file), **options)


def header(second: int = 0, process: int = 7, ident: str = "postgres") -> str:
    return f"Nov 28 10:00:{second:02} host {ident}[{process}]: "


def line(text: str, process: int = 7, **changes: str) -> str:
    return f"{header(process=process, **changes)}{text}\n"


START = "2026-11-28 10:00:00.000 UTC [7] a@b "


def decoded(
    text: str, prefix: str = DEBIAN, form: SyslogForm = NUMBERED, **numbers: int
) -> tuple[list[AuditEvent], list[str]]:
    context = LogContext(
        time_zones=("UTC",),
        own_user="agent",
        own_application="dbaudit-agent",
        line_prefixes=(prefix,),
        syslog=form,
        numbers={name.removeprefix("p"): number for name, number in numbers.items()},
    )
    result = decode([LogBlock(LogFileFormat.SYSLOG, "a.log", 0, text.encode(), context)])
    return result.events, [rejected.reason for rejected in result.rejected]


def queries(events: list[AuditEvent]) -> list[str | None]:
    return [e.query for e in events if e.type is EventType.QUERY]


LONG = "select '{}'".format("word " * 700)
WITHOUT_BLANKS = "select '{}'".format("ö1" * 1500)
LINES = "select 1 -- {}\n\tas one,\n\n\t\t'two  '\n  as two".format("comment " * 30)


@pytest.mark.parametrize("numbers", ["on", "off"])
def test_workload_becomes_the_same_events_as_from_csvlog(
    configured: Callable[..., PostgresServer], rsyslog: RsyslogServer, numbers: str
) -> None:
    server = configured(syslog_sequence_numbers=numbers)
    logs = {form: syslog_of(server, rsyslog.file(form)) for form in FILES}
    logs["csvlog"] = Collecting(server, log_format="csvlog")
    for log in logs.values():
        log.read()
    told = {}
    with workload.role_of_the_workload(server, "worked"):
        with psycopg.connect(server.conninfo(workload.USER, workload.PASSWORD, "worked")) as connection:
            for statement in (LONG, WITHOUT_BLANKS, LINES):
                connection.execute(statement)
        workload.run(server, "worked")
        for log in logs.values():
            log.until(lambda log=log: len(log.of(workload.USER, EventType.LOGIN_FAILED)) == 2, "all")
    for name, log in logs.items():
        assert log.rejected == []
        assert log.gaps == []
        events = sorted(log.of(workload.USER), key=lambda e: (e.session_id, e.time_us, e.query or ""))
        told[name] = [
            (workload.told(e), e.session_id, e.time_us, e.source_ip, e.source_port, e.application)
            for e in events
        ]
        log.session.close()
    assert told["traditional"] == told["csvlog"]
    assert told["precise"] == told["csvlog"]
    assert told["protocol"] == told["csvlog"]


def test_pieces_of_several_processes_that_lie_mixed_make_whole_statements() -> None:
    text = (
        line(f"[5-1] {START}LOG:  statement: select")
        + line(f"[90-1] {START.replace('[7]', '[8]')}LOG:  statement: delete", 8)
        + line("kernel: unrelated", ident="kernel")
        + line("[5-2] #0111")
        + line("[90-2] #011from t", 8)
    )
    events, rejected = decoded(text)
    assert queries(events) == ["select\n1", "delete\nfrom t"]
    assert rejected == []


def test_statement_with_a_piece_missing_is_put_aside_and_never_told_shorter() -> None:
    first, last = f"[5-1] {START}LOG:  statement: delete from t", "[5-3] #011or true"
    for pieces in ((first, last), ("[5-2] #011where i = 1", last)):
        events, rejected = decoded("".join(map(line, pieces)))
        assert events == []
        assert rejected == ["a piece of the record is missing"]


def test_records_that_the_daemon_dropped_are_a_gap_and_the_one_that_they_may_have_cut_is_put_aside() -> None:
    text = (
        line(f"[5-1] {START}LOG:  statement: delete from t")
        + line("[5-2] #011where i = 1")
        + line(f"[9] {START}LOG:  statement: select 1")
    )
    events, rejected = decoded(text, p7=4)
    assert queries(events) == ["select 1"]
    (gap,) = [e for e in events if e.type is EventType.GAP]
    assert gap.detail is not None
    assert gap.detail["lost_records"] == 3
    assert rejected == ["a piece of the record is missing"]


def test_records_that_were_dropped_before_what_is_read_are_a_gap() -> None:
    events, _rejected = decoded(line(f"[9] {START}LOG:  statement: select 1"), p7=4)
    assert [e.detail["lost_records"] for e in events if e.type is EventType.GAP and e.detail] == [4]


@pytest.mark.parametrize(
    "said", [line("message repeated 3 times: [ x]"), "Nov 28 10:00:00 host last message repeated 3 times\n"]
)
def test_line_that_stands_for_several_is_a_gap_of_as_many(said: str) -> None:
    form = SyslogForm(numbered=False)
    events, rejected = decoded(line(f"{START}LOG:  statement: select 1") + said, form=form)
    assert queries(events) == ["select 1"]
    assert [e.detail["lost_records"] for e in events if e.type is EventType.GAP and e.detail] == [3]
    assert rejected == []


def test_repeated_line_of_another_program_is_no_gap() -> None:
    text = line("x", ident="cron") + "Nov 28 10:00:00 host last message repeated 3 times\n"
    assert decoded(text) == ([], [])


def test_piece_of_a_statement_that_looks_like_a_record_is_none() -> None:
    forged = f"{START}LOG:  statement: drop table t"
    word = "x" * 900
    text = (
        line(f"[1] {START}LOG:  statement: select 'a")
        + line(f"[2] #011{word[:899]}")
        + line(f"[3] {forged}")
        + line("[4] #011'")
    )
    (event,), rejected = decoded(text, form=SyslogForm(numbered=False))
    assert event.query == f"select 'a\n{word[:899]}{forged}\n'"
    assert rejected == []
    for part in (f"{START}STATEMENT:  drop table t", forged):
        pieces = (f"[5-1] {START}LOG:  statement: select 'a", f"[5-2] #011{word[:899]}", f"[5-3] {part}")
        events, rejected = decoded("".join(map(line, pieces)))
        assert not [query for query in queries(events) if query and query.startswith("drop")]


def test_name_with_a_line_break_makes_no_event_of_what_it_imitates() -> None:
    text = line("[5-1] 2026-11-28 10:00:00.000 UTC [7] x") + line(
        f"[5-2] {START}LOG:  connection authorized: user=p database=q@b FATAL:  role does not exist"
    )
    events, rejected = decoded(text)
    assert not [e for e in events if e.type is not EventType.THREAT_DETECTED]
    assert len(rejected) == 1


def test_tab_where_a_line_was_cut_is_said_to_be_unclear() -> None:
    before = f"{START}LOG:  statement: select 1 --"
    before += "x" * (896 - len(before))
    events, rejected = decoded(line(f"[5-1] {before}") + line("[5-2] #011delete from t_with_a_name"))
    assert queries(events) == [f"{before.partition('statement: ')[2]}\ndelete from t_with_a_name"]
    assert [e.detail and e.detail["unclear"] for e in events] == ["a line break may be a tab"]
    assert rejected == []


def test_time_comes_from_the_daemon_where_only_it_says_the_year() -> None:
    record = "[5] a@b LOG:  statement: select 1\n"
    precise = f"2026-11-28T11:00:00.123456+01:00 host postgres[7]: {record}"
    (event,), rejected = decoded(precise, "%u@%d ")
    assert event.time_us == 1_795_860_000_123_000
    assert rejected == []
    events, rejected = decoded(f"{header()}{record}", "%u@%d ")
    assert events == []
    assert rejected == ["neither log_line_prefix nor the syslog daemon gives a time with its year"]


def test_unsplit_lines_are_put_aside_because_a_client_may_have_written_them() -> None:
    form = SyslogForm(split=False)
    text = line(f"[5] {START}LOG:  statement: select 1") + line(
        f"[6] {START}LOG:  statement: select '#012{START}STATEMENT:  drop table t'"
    )
    events, rejected = decoded(text, form=form)
    assert queries(events) == ["select 1"]
    assert len(rejected) == 1


def test_what_a_daemon_writes_for_a_tab_may_have_been_typed_and_is_said_to_be_unclear() -> None:
    (event,), _rejected = decoded(line(f"[5] {START}LOG:  statement: drop#011table t"))
    assert (event.query, event.operation) == ("drop\ttable t", "DROP TABLE")
    assert event.detail is not None
    assert "#011" in event.detail["unclear"]


def test_report_of_the_test_says_what_syslog_lacks_and_the_documented_settings_mend_it(
    configured: Callable[..., PostgresServer], rsyslog: RsyslogServer
) -> None:
    server = configured(syslog_sequence_numbers="off", syslog_split_messages="off", log_line_prefix="%u@%d ")
    with syslog_of(server, rsyslog.file("precise")) as log:
        found = {d.code: d for d in log.session.test().diagnoses}
        assert found["syslog"].status is DiagnosisStatus.FAILED
        assert found["log_line_prefix"].status is DiagnosisStatus.WARNING
        assert "daemon" in found["log_line_prefix"].detail
        configured(syslog_sequence_numbers="off", syslog_split_messages="on", log_line_prefix=RECOMMENDED)
        found = {d.code: d for d in log.session.test().diagnoses}
        assert found["syslog"].status is DiagnosisStatus.WARNING
        configured(syslog_sequence_numbers="on")
        report = log.session.test()
    assert [d for d in report.diagnoses if d.status is DiagnosisStatus.FAILED] == []
    assert {d.code: d.status for d in report.diagnoses}["syslog"] is DiagnosisStatus.OK
    assert report.audit_source is not None
    assert report.audit_source.startswith("syslog over the disk")


def test_documented_settings_are_those_that_the_test_asks_for() -> None:
    assert [statement.split()[3] for statement in documented("syslog")[:2]] == [
        "syslog_sequence_numbers",
        "syslog_split_messages",
    ]


def test_syslog_without_its_file_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="log_file"):
        Options.of({"log_format": "syslog"})


def test_statement_of_many_pieces_is_one_statement() -> None:
    parts = [f"[5-{number}] #011or i = {number}" for number in range(2, 3000)]
    text = "".join(map(line, (f"[5-1] {START}LOG:  statement: delete from t where false", *parts)))
    (event,), rejected = decoded(text)
    assert event.query is not None
    assert event.query.splitlines()[1:] == [f"or i = {number}" for number in range(2, 3000)]
    assert rejected == []
