"""Servers that speak other languages and live in other time zones."""

import contextlib
import gettext
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError
from dbaudit.core.event import EventType
from dbaudit.engines.postgresql import messages
from dbaudit.engines.postgresql.late_refusals import is_late_refusal
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.times import LogClock

from tests.engines.postgresql import workload
from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.logged import CONTEXT, JSONLOG, decoded, record, written
from tests.servers.installations import Installation
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]


# -- languages


@pytest.mark.parametrize("log_format", ["csvlog", "jsonlog"])
@pytest.mark.parametrize("language", ["de_DE", "fr_FR", "ja_JP"])
def test_translated_log_gives_the_same_events_as_an_english_one(
    postgres_server: StartServer, postgres_localised: Installation, language: str, log_format: str
) -> None:
    settings = {"lc_messages": f"{language}.UTF-8", "log_statement": "all", "log_min_duration_statement": 0}
    server = postgres_server(15, installed=postgres_localised, pgaudit=True, settings=settings)
    with collector_on(server), Collecting(server, log_format=log_format) as log:
        log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            log.until(lambda: len(log.of(workload.USER, EventType.LOGIN_FAILED)) == 2, "the workload")
        events = workload.by_session(log.of(workload.USER))
        assert [workload.told(e) for e in events] == workload.expected(pgaudit=True)
        timed = [e for e in events if e.type == EventType.QUERY and e.duration_ms is not None]
        assert [e.query for e in timed] == [s for s in workload.PARSED if s not in workload.FAILING]
        assert next(e.parameters for e in events if e.query == workload.PARAMETERS) is not None
        log_in, gone = events[0], next(e for e in events if e.type == EventType.DISCONNECT)
        assert log_in.detail == {"identity": workload.USER, "method": "scram-sha-256"}
        assert log_in.application == workload.APPLICATION
        assert gone.duration_ms is not None
        assert not log.of("dbaudit_collector")
        assert log.rejected == []


def test_translated_statements_of_log_min_duration_statement_are_told(
    postgres_server: StartServer, postgres_localised: Installation
) -> None:
    settings = {"lc_messages": "fr_FR.UTF-8", "log_min_duration_statement": 0}
    server = postgres_server(15, installed=postgres_localised, settings=settings)
    with collector_on(server), Collecting(server) as log:
        log.read()
        with server.connect_admin() as connection:
            connection.execute("select 'simple'")
            connection.execute("select %s::text", ("extended",))
        log.until(lambda: len(log.queries("postgres")) == 2, "both statements")
        assert log.queries("postgres") == ["select 'simple'", "select $1::text"]


# What a message of the catalogs becomes with values, and the kind and text that have to be found in it.
_MESSAGES = {
    "connection received: host=%s": Kind.RECEIVED,
    "connection received: host=%s port=%s": Kind.RECEIVED,
    'connection authenticated: identity="%s" method=%s (%s:%d)': Kind.AUTHENTICATED,
    'connection authenticated: user="%s" method=%s (%s:%d)': Kind.AUTHENTICATED,
    "connection authorized: user=%s": Kind.AUTHORIZED,
    "connection authorized: user=%s database=%s": Kind.AUTHORIZED,
    "connection authorized: user=%s database=%s application_name=%s": Kind.AUTHORIZED,
    "replication connection authorized: user=%s": Kind.REPLICATION_AUTHORIZED,
    "disconnection: session time: %d:%02d:%02d.%03d user=%s database=%s host=%s%s%s": Kind.DISCONNECTED,
    "statement: %s": Kind.STATEMENT,
    "duration: %s ms": Kind.DURATION,
    "duration: %s ms  statement: %s": Kind.DURATION,
    "received replication command: %s": Kind.REPLICATION_COMMAND,
}
# Translated alike in the catalogs: what is a replication connection cannot be told from another there.
_ALIKE = {(Kind.REPLICATION_AUTHORIZED, Kind.AUTHORIZED)}


def catalogs(installed: Installation) -> list[tuple[str, dict[str, str]]]:
    """The translations of the test's server, and of the machine's own servers if there are any."""
    folders = [installed.programs.parents[3] / "share/locale", Path("/usr/share/locale")]
    found = []
    for folder in folders:
        for file in sorted(folder.glob("*/LC_MESSAGES/postgres-*.mo")):
            with file.open("rb") as opened:
                catalog = gettext.GNUTranslations(opened)
            texts = {text: catalog.gettext(text) for text in (*_MESSAGES, *_PARTS)}
            found.append((f"{file.parts[-3]} {file.stem}", {k: v for k, v in texts.items() if k != v}))
    return found


_PARTS = (
    "execute",
    "execute fetch from",
    "duration: %s ms  %s %s%s%s: %s",
    "duration: %s ms  parse %s: %s",
    "duration: %s ms  bind %s%s%s: %s",
    " application_name=%s",
    " database=%s",
    " SSL enabled (protocol=%s, cipher=%s, bits=%d)",
)


_LATE_REFUSALS = (
    'new row violates row-level security policy for table "%s"',
    'new row violates row-level security policy (USING expression) for table "%s"',
    'target row violates row-level security policy (USING expression) for table "%s"',
    *(f"permission denied for {kind} %s" for kind in ("function", "procedure", "aggregate", "routine")),
)
_EARLY_REFUSALS = tuple(
    f"permission denied for {kind} %s" for kind in ("table", "schema", "view", "language")
)


def test_refusals_after_a_statements_start_are_recognised_in_every_language(
    postgres_localised: Installation,
) -> None:
    files = list(postgres_localised.programs.parents[3].glob("share/locale/*/LC_MESSAGES/postgres-*.mo"))
    assert files
    for file in files:
        with file.open("rb") as opened:
            catalog = gettext.GNUTranslations(opened)
        for text in _LATE_REFUSALS:
            message = catalog.gettext(text).replace("%s", "f")
            assert is_late_refusal(message, "42501"), (file, message)
            assert not is_late_refusal(message, "42P01")
        imitations = [*_LATE_REFUSALS, *(catalog.gettext(text) for text in _LATE_REFUSALS)]
        for text in _EARLY_REFUSALS:
            for name in ("f", *imitations):
                for template in (text, catalog.gettext(text)):
                    message = template.replace("%s", name.replace("%s", "f"))
                    assert not is_late_refusal(message, "42501"), (file, message)


def _with(template: str, *values: object) -> str:
    """A template with values, as many as it takes."""
    return template % values[: template.replace("%%", "").count("%")]


def test_every_language_that_the_server_ships_is_recognised(postgres_localised: Installation) -> None:
    found = catalogs(postgres_localised)
    assert len({name.split()[0] for name, ignored in found}) >= 10
    for name, texts in found:
        for template, kind in _MESSAGES.items():
            translated = texts.get(template)
            if translated is None:
                continue
            values = (1, 2, 3, 4, "u", "d", "h", "", "") if "%02d" in template else ("1.5", "b", "c", 7)
            message = _with(translated, *values)
            recognised = recognise(message)
            assert recognised is not None, (name, message)
            assert recognised[0] is kind or (kind, recognised[0]) in _ALIKE, (name, message)
            if kind is Kind.STATEMENT or kind is Kind.REPLICATION_COMMAND:
                assert message[recognised[1] :] == "1.5", (name, message)
            if kind is Kind.DISCONNECTED:
                time = messages.SESSION_TIME.search(message)
                assert time is not None, (name, message)
                assert time.groups() == ("1", "02", "03.004"), (name, message)


def test_details_of_log_ins_are_read_in_every_language(postgres_localised: Installation) -> None:
    for name, texts in catalogs(postgres_localised):
        authorized = texts.get("connection authorized: user=%s")
        if authorized is not None:
            message = authorized % "u" + texts.get(" database=%s", " database=%s") % "d"
            message += texts.get(" application_name=%s", " application_name=%s") % "an app"
            tls = texts.get(
                " SSL enabled (protocol=%s, cipher=%s, bits=%d)",
                " SSL enabled (protocol=%s, cipher=%s, bits=%d)",
            )
            for ending in ("", tls % ("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)):
                application = messages.APPLICATION.search(message + ending)
                assert application is not None, (name, message)
                assert application[1] == "an app", (name, message + ending)
            found = messages.TLS.search(message + ending)
            assert found is not None, (name, message + ending)
            assert found.groups() == ("TLSv1.3", "TLS_AES_256_GCM_SHA384"), name
        for template in _MESSAGES:
            if template.startswith("connection authenticated") and template in texts:
                message = texts[template] % ('u "q"', "scram-sha-256", "pg_hba.conf", 3)
                identity = messages.IDENTITY.search(message)
                assert identity is not None, (name, message)
                assert (identity[1] or identity[2] or identity[3], identity[4]) == (
                    'u "q"',
                    "scram-sha-256",
                ), name


def test_statements_of_the_extended_protocol_are_read_in_every_language(
    postgres_localised: Installation,
) -> None:
    for name, texts in catalogs(postgres_localised):
        execute = texts.get("execute", "execute")
        for message in (f"{execute} <unnamed>: select 1", f"{execute} named/portal: select 1"):
            (event,), _rejected = decoded(JSONLOG, written(JSONLOG, [record(message)]))
            assert event.query == "select 1", (name, message)
        fetched = f"{texts.get('execute fetch from', 'execute fetch from')} named/portal: select 1"
        timed = texts.get("duration: %s ms  %s %s%s%s: %s", "duration: %s ms  %s %s%s%s: %s")
        message = timed % ("1.5", execute, "<unnamed>", "", "", "select 1")
        (event,), _ignored = decoded(JSONLOG, written(JSONLOG, [record(message)]))
        assert (event.query, event.duration_ms) == ("select 1", 1.5), (name, message)
        parsed = texts.get("duration: %s ms  parse %s: %s", "duration: %s ms  parse %s: %s") % (
            "1.5",
            "p",
            "select 1",
        )
        bound = texts.get("duration: %s ms  bind %s%s%s: %s", "duration: %s ms  bind %s%s%s: %s")
        for silent in (parsed, bound % ("1.5", "p", "", "", "select 1"), fetched):
            assert decoded(JSONLOG, written(JSONLOG, [record(silent)]))[0] == [], (name, silent)


# -- time zones

BERLIN, INDIA = "Europe/Berlin", "Asia/Kolkata"


@pytest.mark.parametrize(
    ("zones", "stamp", "expected"),
    [
        (("UTC",), "2026-11-21 19:34:04.240 UTC", "2026-11-21T19:34:04.240+00:00"),
        (("Etc/UTC",), "2026-11-21 19:34:04.240 UTC", "2026-11-21T19:34:04.240+00:00"),
        (("Europe/London",), "2026-11-21 19:34:04.240 GMT", "2026-11-21T19:34:04.240+00:00"),
        (("Europe/London",), "2026-06-21 19:34:04.240 BST", "2026-06-21T19:34:04.240+01:00"),
        ((BERLIN,), "2026-03-29 01:59:59.999 CET", "2026-03-29T01:59:59.999+01:00"),
        ((BERLIN,), "2026-03-29 03:00:00.000 CEST", "2026-03-29T03:00:00.000+02:00"),
        ((BERLIN,), "2026-10-25 02:30:00.000 CEST", "2026-10-25T02:30:00.000+02:00"),
        ((BERLIN,), "2026-10-25 02:30:00.000 CET", "2026-10-25T02:30:00.000+01:00"),
        (("Asia/Novosibirsk",), "2026-11-21 19:34:04.240 +07", "2026-11-21T19:34:04.240+07:00"),
        ((INDIA,), "2026-11-21 19:34:04.240 IST", "2026-11-21T19:34:04.240+05:30"),
        (("Asia/Jerusalem",), "2026-11-21 19:34:04.240 IST", "2026-11-21T19:34:04.240+02:00"),
        (("America/St_Johns",), "2026-11-01 01:30:00.000 NDT", "2026-11-01T01:30:00.000-02:30"),
        (("America/St_Johns",), "2026-11-01 01:30:00.000 NST", "2026-11-01T01:30:00.000-03:30"),
        (("Australia/Lord_Howe",), "2026-11-21 19:34:04.240 +11", "2026-11-21T19:34:04.240+11:00"),
        (("UTC+3",), "2026-11-21 19:34:04.240 UTC", "2026-11-21T19:34:04.240-03:00"),
        (("<+0545>-5:45",), "2026-11-21 19:34:04.240 +0545", "2026-11-21T19:34:04.240+05:45"),
        (("UTC", BERLIN), "2026-11-21 19:34:04.240 CET", "2026-11-21T19:34:04.240+01:00"),
    ],
)
def test_time_stamp_is_placed_by_its_zone(zones: tuple[str, ...], stamp: str, expected: str) -> None:
    assert LogClock(zones).time_us(stamp) == to_us(datetime.fromisoformat(expected))


@pytest.mark.parametrize(
    ("zones", "stamp"),
    [
        (("UTC",), "2026-11-21 19:34:04.240 CET"),
        ((BERLIN,), "2026-11-21 19:34:04.240 EST"),
        ((BERLIN,), "2026-06-21 19:34:04.240 CET"),
        (("No/Where",), "2026-11-21 19:34:04.240 CET"),
        ((), "2026-11-21 19:34:04.240 IST"),
    ],
)
def test_time_stamp_that_could_only_be_guessed_is_put_aside(zones: tuple[str, ...], stamp: str) -> None:
    with pytest.raises(RecordError, match="zone"):
        LogClock(zones).time_us(stamp)
    line = written(JSONLOG, [record("statement: select 1", timestamp=stamp)])
    _events, (rejected,) = decoded(JSONLOG, line)
    assert "zone" in rejected.reason
    assert CONTEXT.time_zones == ("UTC",)


@pytest.mark.parametrize("zone", [BERLIN, "Asia/Novosibirsk", INDIA, "America/St_Johns"])
def test_server_in_another_time_zone_tells_the_true_time(postgres_server: StartServer, zone: str) -> None:
    server = postgres_server(15, settings={"log_timezone": zone, "log_statement": "all"})
    with collector_on(server), Collecting(server) as log:
        log.read()
        ((before,),) = server.execute_admin("select clock_timestamp()")
        ((after,),) = server.execute_admin("select clock_timestamp()")
        log.until(lambda: len(log.queries("postgres")) == 2, "both statements")
        first, second = log.of("postgres", EventType.QUERY)
        assert to_us(before) - 1_000_000 < first.time_us <= to_us(before)
        assert to_us(before) - 1_000 <= second.time_us <= to_us(after)
        assert log.rejected == []


def test_connection_refused_in_another_language_is_told_by_its_code(
    postgres_server: StartServer, postgres_localised: Installation
) -> None:
    server = postgres_server(15, installed=postgres_localised, settings={"lc_messages": "ja_JP.UTF-8"})
    with collector_on(server), Collecting(server) as log:
        log.read()
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(server.conninfo("nobody", "x"))
        log.until(lambda: log.of("nobody"), "the failure")
        assert log.of("nobody")[0].error_code == "28P01"
