"""PostgreSQL: what the clients know that they did, against the events of each format of the log."""

import random
from collections.abc import Callable

import pytest
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engine import Target
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.postgresql.prefix_checks import RECOMMENDED
from dbaudit.testing import Monitored

from tests.engines.postgresql.collecting import collector_on
from tests.engines.postgresql.targets import target
from tests.servers.installations import PGAUDIT_MAJORS
from tests.servers.postgresql import PostgresServer
from tests.truth.collecting import collected, now
from tests.truth.facts import differences
from tests.truth.postgresql_clients import LAST, Recording, clients, work_at_once

StartServer = Callable[..., PostgresServer]

CLIENTS, STEPS = 3, 40
JSONLOG_SINCE = LOG_ROWS_SINCE = 15
DOCUMENTED = {"pgaudit.log": "all, -misc, misc_set", "pgaudit.log_catalog": False}
RECORDINGS = {
    "pgaudit": Recording(DOCUMENTED, misc=False, parts=True, apart=True),
    "log_rows": Recording(
        {**DOCUMENTED, "pgaudit.log_rows": True}, misc=False, parts=True, apart=True, rows=True
    ),
    "log_statement": Recording({"log_statement": "all"}, misc=True, parts=False, apart=False),
    "log_duration": Recording({"log_min_duration_statement": 0}, misc=True, parts=False, apart=False),
    "everything": Recording(
        {**DOCUMENTED, "log_statement": "all", "log_duration": True, "log_min_duration_statement": 0},
        misc=True,
        parts=True,
        apart=True,
    ),
}


class Log(Monitored):
    """One format of a server's log."""

    engine = PostgreSQLEngine()

    def __init__(self, server: PostgresServer, log_format: str) -> None:
        self._server = server
        self._options = {"log_format": log_format}

    def target(self) -> Target:
        return target(self._server, options=self._options)


def formats(server: PostgresServer) -> list[str]:
    return ["csvlog", "jsonlog", "stderr"] if server.major >= JSONLOG_SINCE else ["csvlog", "stderr"]


def all_is_true(server: PostgresServer, recording: Recording, seed: int) -> None:
    chance = random.Random(seed)
    with collector_on(server), clients(server, recording, chance, CLIENTS) as working:
        logs = {name: Log(server, name) for name in formats(server)}
        begin = {name: now(log) for name, log in logs.items()}
        work_at_once(server, working, STEPS)
        facts = [fact for client in working for fact in client.facts]
        for name, log in logs.items():
            events = collected(log, begin[name], chance, last_is_gone)
            # What psycopg runs by itself when it drops its prepared statements.
            found = differences(facts, [e for e in events if e.query != "DEALLOCATE ALL"])
            assert not found, f"{name}: {found}"


def last_is_gone(events: list[AuditEvent]) -> bool:
    return any(e.type is EventType.DISCONNECT and e.user == LAST for e in events)


NORMALLY = {(13, "pgaudit"), (15, "log_rows"), (17, "pgaudit"), (17, "log_statement"), (18, "everything")}
CASES = [
    pytest.param(*(major, recording), marks=() if (major, recording) in NORMALLY else pytest.mark.many_seeds)
    for major in PGAUDIT_MAJORS
    for recording in RECORDINGS
    if major >= LOG_ROWS_SINCE or recording != "log_rows"
]


@pytest.mark.parametrize(("major", "recording"), CASES)
def test_events_are_what_the_clients_did(
    postgres_server: StartServer, major: int, recording: str, seed: int
) -> None:
    settings = RECORDINGS[recording].settings | {
        "log_destination": "stderr,csvlog,jsonlog" if major >= JSONLOG_SINCE else "stderr,csvlog",
        "log_line_prefix": RECOMMENDED,
    }
    server = postgres_server(major, pgaudit="pgaudit.log" in settings, settings=settings)
    all_is_true(server, RECORDINGS[recording], seed)
