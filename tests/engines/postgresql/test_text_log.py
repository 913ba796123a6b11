"""The text log (stderr): whatever its prefix, and whatever a client writes into it."""

import contextlib
import gettext
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.report import DiagnosisStatus
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.labels import FAILURES, PARTS, POSITIONS, SEVERITIES, UNKNOWN
from dbaudit.engines.postgresql.line_prefix import line_prefix, sample
from dbaudit.engines.postgresql.options import Options
from dbaudit.engines.postgresql.prefix_checks import RECOMMENDED
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat

from tests.engines.postgresql import workload
from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.documented import documented
from tests.servers.installations import PGAUDIT_MAJORS, Installation
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]

DEFAULT, DEBIAN, RDS = "%m [%p] ", "%m [%p] %q%u@%d ", "%t:%r:%u@%d:[%p]:"
OTHERS = ("%n %c.%l %u %d|", "%-26m<%10p><%-20u><%d><%h> ", "user=%u,db=%d,app=%a,client=%h,pid=%p,%s,%t: ")

VALUES = {
    "m": "2026-01-01 10:00:00.000 UTC",
    "t": "2026-01-01 10:00:00 +0530",
    "s": "2026-01-01 10:00:00 CET",
    "n": "1767261600.123",
    "p": "4121",
    "P": "4000",
    "c": "69565c20.1019",
    "l": "7",
    "v": "4/11",
    "x": "733",
    "e": "42P01",
    "Q": "-12345",
    "b": "client backend",
    "r": "fe80::1%eth0(51514)",
    "h": "[local]",
    "L": "10.0.0.1",
    "u": "ann",
    "d": "shop",
    "a": "its app",
    "i": "idle in transaction",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One that writes nothing but its text log."""
    settings = {"log_destination": "stderr", "log_line_prefix": RECOMMENDED, "pgaudit.log": "all, -misc"}
    with PostgresServer(17, pgaudit=True, settings=settings) as started, collector_on(started):
        yield started


@pytest.fixture
def with_prefix(server: PostgresServer) -> Iterator[Callable[[str], PostgresServer]]:
    """The server with another log_line_prefix."""

    def change(prefix: str) -> PostgresServer:
        server.configure(log_line_prefix=prefix)
        server.reload()
        return server

    yield change
    change(RECOMMENDED)


def decoded(text: str, *prefixes: str) -> tuple[list[AuditEvent], list[str]]:
    context = LogContext(
        time_zones=("UTC",), own_user="agent", own_application="dbaudit-agent", line_prefixes=prefixes
    )
    result = decode([LogBlock(LogFileFormat.STDERR, "a.log", 0, text.encode(), context)])
    return result.events, [rejected.reason for rejected in result.rejected]


# -- real servers


@pytest.mark.parametrize("major", PGAUDIT_MAJORS)
def test_workload_becomes_the_same_events_as_from_csvlog(postgres_server: StartServer, major: int) -> None:
    settings = {"log_destination": "stderr,csvlog", "log_line_prefix": RECOMMENDED}
    server = postgres_server(major, pgaudit=True, settings=settings)
    with collector_on(server):
        logs = {name: Collecting(server, log_format=name) for name in ("stderr", "csvlog")}
        for log in logs.values():
            log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            for log in logs.values():
                log.until(lambda log=log: len(log.of(workload.USER, EventType.LOGIN_FAILED)) == 2, "all")
        told = {}
        for name, log in logs.items():
            assert log.rejected == []
            assert log.gaps == []
            events = sorted(log.of(workload.USER), key=lambda e: (e.session_id, e.time_us, e.query or ""))
            told[name] = [
                (workload.told(e), e.session_id, e.source_ip, e.source_port, e.application) for e in events
            ]
            log.session.close()
    assert told["stderr"] == told["csvlog"]


@pytest.mark.parametrize("prefix", [DEFAULT, DEBIAN, RDS, *OTHERS])
def test_each_prefix_gives_every_statement_once_with_what_it_says(
    with_prefix: Callable[[str], PostgresServer], prefix: str
) -> None:
    server = with_prefix(prefix)
    says = line_prefix(prefix).says
    with Collecting(server) as log:
        log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            log.until(
                lambda: sum(e.type is EventType.LOGIN_FAILED for e in log.events) == 3,
                "the end of the workload",
            )
    wanted = [told.query for told in workload.expected(pgaudit=True) if told.query is not None]
    found = [e for e in log.events if e.type is EventType.QUERY and e.query in wanted]
    assert [e.query for e in found] == wanted
    assert [e.query for e in found if e.outcome is Outcome.FAILURE] == list(workload.FAILING)
    assert {e.error_code for e in found} == {None}
    assert {e.user for e in found} == ({workload.USER} if "u" in says else {None})
    assert {e.database for e in found} == ({"worked"} if "d" in says else {None})
    assert {e.source_ip for e in found} == ({"127.0.0.1"} if says & {"r", "h"} else {None})
    assert {e.session_id is not None for e in found} == {"c" in says}
    log_in = next(e for e in log.events if e.type is EventType.LOGIN_SUCCESS and e.user == workload.USER)
    assert (log_in.database, log_in.application) == ("worked", workload.APPLICATION)
    refused = [(e.user, e.error_code) for e in log.events if e.type is EventType.LOGIN_FAILED]
    assert refused[:2] == [(workload.USER, "28P01"), ("nobody", "28P01")]
    assert refused[2][1] == "3D000"
    assert log.rejected == []


def test_name_with_a_line_break_makes_no_event_of_what_it_imitates(
    with_prefix: Callable[[str], PostgresServer],
) -> None:
    server = with_prefix(DEBIAN)
    line = "2026-11-28 10:00:00.000 UTC [1] a@b LOG:  "
    with Collecting(server) as log:
        log.read()
        # The first breaks the line at once, the others where it looks like a whole one.
        for user, database in (
            (f"\n{line[:-8]}"[:62], "b LOG:  connection authorized: user=x database=y"),
            (f"A@b LOG:  x\n{line[:33]}c", "d LOG:  statement: drop x\n2026-11-28 10:00:00.000 UTC [1] e@f"),
            (f"A@b LOG:  x\n{line[:33]}c", "d LOG:  connection authorized: user=p\nz"),
        ):
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(server.conninfo(user, "x", database, sslmode="disable"))
        with server.connect_admin() as connection:
            connection.execute("select 'after all that'")
        log.until(lambda: "select 'after all that'" in log.queries(), "what follows")
    assert {e.user for e in log.events} <= {None, "postgres"}
    assert not [e for e in log.events if "drop" in (e.query or "")]
    assert any("line break" in rejected.reason for rejected in log.rejected)
    threats = [e for e in log.events if e.type is EventType.THREAT_DETECTED]
    assert {e.severity for e in threats} == {Severity.CRITICAL}
    assert len(threats) <= 3


def test_application_that_imitates_a_message_makes_no_event_of_it(server: PostgresServer) -> None:
    imitation = "x LOG:  connection authorized: user=postgres database=hr"
    with Collecting(server) as log:
        log.read()
        with server.connect_admin(application_name=imitation) as connection:
            connection.execute("select 'hidden'")
        with server.connect_admin() as connection:
            connection.execute("select 'seen'")
        log.until(lambda: "select 'seen'" in log.queries(), "what follows")
    assert "hr" not in {e.database for e in log.events}
    assert any("looks like a message" in rejected.reason for rejected in log.rejected)
    assert any(e.type is EventType.THREAT_DETECTED for e in log.events)


def test_row_that_a_statement_raises_is_not_the_servers_own(server: PostgresServer) -> None:
    forged = (
        "do $$ begin raise log 'AUDIT: SESSION,1,1,ROLE,GRANT,,,grant all on t to evil,<not logged>'; end $$"
    )
    with Collecting(server) as log:
        log.read()
        with server.connect_admin() as connection:
            connection.execute(forged.encode())
        log.until(lambda: log.of("postgres", EventType.DISCONNECT), "the end of the session")
    assert log.queries("postgres") == [forged]
    (threat,) = log.of("postgres", EventType.THREAT_DETECTED)
    assert threat.severity is Severity.CRITICAL


@pytest.mark.parametrize("verbosity", ["terse", "verbose"])
def test_verbosity_changes_neither_texts_nor_outcomes(
    with_prefix: Callable[[str], PostgresServer], verbosity: str
) -> None:
    server = with_prefix(DEBIAN)
    with Collecting(server) as log, server.connect_admin() as connection:
        log.read()
        connection.execute(f"set log_error_verbosity = {verbosity}".encode())
        for statement in ("select 'ok'", "select * from missing", "select 1/0"):
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement)
        log.until(lambda: "select 1/0" in log.queries(), "the statements")
    told = [(e.query, e.outcome, e.error_code) for e in log.of("postgres", EventType.QUERY)][-3:]
    known = verbosity == "verbose"
    assert told == [
        ("select 'ok'", None, None),
        ("select * from missing", Outcome.FAILURE, "42P01" if known else None),
        ("select 1/0", Outcome.FAILURE, "22012" if known else None),
    ]


def test_documented_prefix_is_the_one_that_says_everything() -> None:
    assert RECOMMENDED in documented("prefix")[0]


def test_prefix_that_changes_at_run_time_puts_nothing_aside(
    with_prefix: Callable[[str], PostgresServer],
) -> None:
    server = with_prefix(DEFAULT)
    marks = []
    with Collecting(server) as log:
        log.read()
        for number, prefix in enumerate((DEBIAN, RECOMMENDED, RDS, DEFAULT)):
            for _again in range(2):
                marks.append(f"select 'mark {number} {_again}'")
                with server.connect_admin() as connection:
                    connection.execute(marks[-1].encode())
            log.until(lambda: marks[-1] in log.queries(), "the mark", 700)  # called at once
            with_prefix(prefix)
    assert [query for query in log.queries() if query in marks] == marks
    assert log.rejected == []


def test_server_that_writes_jsonlog_instead_is_read_on_without_doubles(postgres_server: StartServer) -> None:
    server = postgres_server(17, settings={"log_destination": "stderr", "log_statement": "all"})
    marks = []
    with collector_on(server), Collecting(server) as log:
        log.read()
        for destination in ("jsonlog", "jsonlog"):
            for _again in range(3):
                marks.append(f"select 'mark {len(marks)}'")
                with server.connect_admin() as connection:
                    connection.execute(marks[-1].encode())
            server.configure(log_destination=destination)
            server.reload()
        log.until(lambda: marks[-1] in log.queries(), "the last mark")
        assert [query for query in log.queries() if query in marks] == marks
        assert log.cursor["format"] == "jsonlog"
        assert log.gaps == []


def test_format_that_is_changed_by_its_option_leaves_a_gap_and_no_double(
    postgres_server: StartServer,
) -> None:
    settings = {"log_destination": "stderr,jsonlog", "log_statement": "all"}
    server = postgres_server(17, settings=settings)
    with collector_on(server):
        with Collecting(server, log_format="stderr") as log:
            log.read()
            server.execute_admin("select 'before'")
            log.until(lambda: "select 'before'" in log.queries(), "the statement")
        with Collecting(server, log.cursor, log_format="jsonlog") as other:
            other.until(lambda: other.cursor["format"] == "jsonlog", "the other format")
            server.execute_admin("select 'after'")
            other.until(lambda: "select 'after'" in other.queries(), "the statement")
    assert "select 'before'" not in other.queries()
    assert len(other.gaps) == 1


def test_redirected_standard_error_is_read_from_its_file(postgres_server: StartServer) -> None:
    settings = {"logging_collector": False, "log_destination": "stderr", "log_line_prefix": DEBIAN}
    server = postgres_server(17, pgaudit=True, settings=settings)
    file = server.folder / "startup.log"
    with collector_on(server), Collecting(server, log_file=str(file)) as log:
        log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            log.until(lambda: len(log.of(workload.USER, EventType.LOGIN_FAILED)) == 2, "the workload")
        wanted = [told.query for told in workload.expected(pgaudit=True) if told.query is not None]
        assert [query for query in log.queries(workload.USER) if query in wanted] == wanted
        assert log.rejected == []
        found = log.session.test()
    assert found.success
    assert [d.code for d in found.diagnoses if d.status is DiagnosisStatus.FAILED] == []
    assert found.audit_source is not None
    assert found.audit_source.startswith(f"stderr over the disk ({server.folder})")


def test_file_that_is_truncated_by_who_rotates_it_is_a_gap_and_read_on(
    server: PostgresServer, tmp_path: Path
) -> None:
    file = tmp_path / "postgresql-17-main.log"
    line = f"{sample(RECOMMENDED, {**VALUES, 'e': '00000', 'i': 'SELECT', 'P': ''})}LOG:  statement: select "
    file.write_text(f"{line}1\n{line}2\n")
    with Collecting(server, log_file=str(file), start_from="beginning") as log:
        log.until(lambda: len(log.queries()) == 2, "both")
        file.write_text(f"{line}3\n")
        log.until(lambda: len(log.queries()) == 3, "what follows")
    assert log.queries() == ["select 1", "select 2", "select 3"]
    assert len(log.gaps) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"log_file": "relative.log"},
        {"log_file": "/var/log/"},
        {"log_file": "/a.log", "log_source": "remote"},
        {"log_file": "/a.log", "log_directory": "/var/log"},
        {"log_file": "/a.log", "log_format": "csvlog"},
    ],
)
def test_file_with_options_that_contradict_it_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="log_file"):
        Options.of(wrong)


# -- texts


def test_prefixes_of_any_escapes_and_padding_are_read_as_they_were_written() -> None:
    chance = random.Random(1)
    for _again in range(500):
        letters = chance.sample(sorted(VALUES), chance.randint(1, 8))
        text = "".join(
            f"{chance.choice(['%', '%30', '%-30'])}{letter}" + chance.choice("|;<>") for letter in letters
        )
        prefix = line_prefix(f"[%%] {text}")
        line = f"{sample(prefix.text, VALUES)}LOG:  statement: select 1".encode()
        for pattern in (prefix.shortest, prefix.longest):
            found = pattern.match(line)
            assert found is not None, (text, line)
            assert {n: v.decode().strip() for n, v in found.groupdict().items() if v and len(n) == 1} == {
                letter: VALUES[letter] for letter in letters
            }


def test_line_of_a_background_process_has_no_user() -> None:
    text = "2026-01-01 10:00:00.000 UTC [7] FATAL:  the database system is starting up\n"
    (event,), rejected = decoded(text, DEBIAN)
    assert (event.type, event.user, event.error_code) == (EventType.LOGIN_FAILED, None, "57P03")
    assert rejected == []


def test_names_that_can_be_read_in_two_ways_are_left_out() -> None:
    text = "2026-01-01 10:00:00.000 UTC [7] a@b@c LOG:  statement: select 1\n"
    (event,), rejected = decoded(text, DEBIAN)
    assert (event.query, event.user, event.database) == ("select 1", None, None)
    assert rejected == []


def test_lines_of_other_programs_are_put_aside_and_no_part_of_a_record() -> None:
    text = (
        "2026-01-01 10:00:00.000 UTC [7] a@b LOG:  statement: select 1\n"
        "sh: 1: archive: not found\n"
        "2026-01-01 10:00:01.000 UTC [7] a@b LOG:  statement: select\n\t2\n"
    )
    events, rejected = decoded(text, DEBIAN)
    assert [e.query for e in events] == ["select 1", "select\n2"]
    assert len(rejected) == 1


def test_further_lines_of_another_process_belong_to_no_record() -> None:
    text = (
        "2026-01-01 10:00:00.000 UTC [7] a@b ERROR:  denied\n"
        "2026-01-01 10:00:00.000 UTC [8] a@b STATEMENT:  drop table t\n"
    )
    events, rejected = decoded(text, DEBIAN)
    assert events == []
    assert len(rejected) == 1


def test_every_language_of_the_servers_is_known(postgres_localised: Installation) -> None:
    catalogs = sorted(
        Path(postgres_localised.programs).parents[3].glob("share/locale/*/LC_MESSAGES/postgres-*.mo")
    )
    assert catalogs
    for catalog in catalogs:
        with catalog.open("rb") as file:
            translation = gettext.GNUTranslations(file)
        for severity in SEVERITIES:
            # In Georgian a notice and a warning are one word.
            known_as = {
                one for one, words in SEVERITIES.items() if translation.gettext(severity.value) in words
            }
            assert known_as, catalog
            assert known_as <= FAILURES if severity in FAILURES else not known_as & FAILURES
        for part, labels in PARTS.items():
            for ending in ("", "%s, %s:%d\n"):
                label = translation.gettext(f"{part.value.upper()}:  {ending}").removesuffix(ending)
                assert label in labels, catalog
        assert translation.gettext(" at character %d") in POSITIONS
        assert translation.gettext("[unknown]") in UNKNOWN


@pytest.mark.parametrize("language", ["de_DE", "fr_FR", "ja_JP"])
def test_translated_text_log_gives_the_statements_and_their_outcomes(
    postgres_server: StartServer, postgres_localised: Installation, language: str
) -> None:
    settings = {
        "lc_messages": f"{language}.UTF-8",
        "log_destination": "stderr",
        "log_line_prefix": RECOMMENDED,
    }
    server = postgres_server(15, installed=postgres_localised, pgaudit=True, settings=settings)
    with collector_on(server), Collecting(server) as log:
        log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            log.until(lambda: len(log.of(workload.USER, EventType.LOGIN_FAILED)) == 2, "the workload")
        events = workload.by_session(log.of(workload.USER))
        assert [workload.told(e) for e in events] == workload.expected(pgaudit=True)
        assert log.rejected == []


def test_first_record_of_a_file_that_was_empty_is_read(server: PostgresServer, tmp_path: Path) -> None:
    file = tmp_path / "postgresql-17-main.log"
    file.touch()
    line = f"{sample(RECOMMENDED, {**VALUES, 'e': '00000', 'i': 'SELECT', 'P': ''})}LOG:  statement: select "
    with Collecting(server, log_file=str(file)) as log:
        log.read()
        file.write_text(f"{line}1\n{line}2\n")
        log.until(lambda: "select 2" in log.queries(), "the second")
    assert log.queries() == ["select 1", "select 2"]
