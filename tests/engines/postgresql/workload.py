"""A workload that is known in advance, and the events that it has to become."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
from dbaudit.core.event import AuditEvent, EventType, Outcome

from tests.servers.postgresql import PostgresServer

USER, PASSWORD = "lena", "right"
APPLICATION = "its \"app\", with 'quotes'"


class Told(NamedTuple):
    """What an event says that does not depend on when and where it happened."""

    type: EventType
    query: str | None = None
    operation: str | None = None
    error_code: str | None = None


def by_session(events: list[AuditEvent]) -> list[AuditEvent]:
    """Session after session: one may be logged to end when the next has begun."""
    sessions = list(dict.fromkeys(e.session_id for e in events))
    return sorted(events, key=lambda e: sessions.index(e.session_id))


def told(event: AuditEvent) -> Told:
    return Told(event.type, event.query, event.operation, event.error_code)


CREATE = "create table noted (id int primary key, note text)"
INSERT = "insert into noted values (1, 'O''Brien says \"hi\",\nLINE two')"
SECOND = "insert into noted\n  values (2, 'ünïcödé — 日本') -- a, \"comment\""
FAKE = (
    'select \'\n2026-11-21 19:34:04.240 UTC,"app","db",1,"10.0.0.1:1",6b01f22c.1,1,"idle",'
    '2026-11-21 19:34:04 UTC,1/1,0,LOG,00000,"statement: drop table noted",,,,,,,,,"","client backend",,0\n\''
)
PARAMETERS = "select * from noted where id = $1 and note <> $2"
DO = "do $$ begin perform 1 from noted; update noted set note = 'new'; end $$"
PARTS = ("SELECT 1 from noted", "update noted set note = 'new'")
DUPLICATE = "insert into noted values (1, 'again')"
MISSING = "select * from missing"
SYNTAX = "selec 1"
DROP = "drop table noted"
FAILING = {DUPLICATE: "23505", MISSING: "42P01", SYNTAX: "42601"}
PARSED = (CREATE, INSERT, SECOND, FAKE, PARAMETERS, DO, DUPLICATE, MISSING, DROP)


@contextlib.contextmanager
def role_of_the_workload(server: PostgresServer, database: str) -> Iterator[None]:
    server.create_role(USER, PASSWORD)
    server.create_database(database)
    server.execute_admin("grant create on schema public to lena", database=database)
    yield
    with server.connect_admin() as connection:
        connection.execute(f'drop database "{database}"')
        connection.execute("drop role lena")


def run(server: PostgresServer, database: str) -> None:
    """Log in, run statements, fail in every way, log out; wrong password, no such database, no such role."""
    conninfo = server.conninfo(USER, PASSWORD, database, application_name=APPLICATION)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for statement in (CREATE, INSERT, SECOND, FAKE):
            connection.execute(statement)
        connection.execute(
            "select * from noted where id = %s and note <> %s", (7, "a 'quoted', \"text\"\nin two lines")
        )
        connection.execute(DO)
        for statement in FAILING:
            with contextlib.suppress(psycopg.Error):
                connection.execute(statement)
        connection.execute(DROP)
    for user, password, other in (
        (USER, "wrong", database),
        ("nobody", "x", database),
        (USER, PASSWORD, "none"),
    ):
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(server.conninfo(user, password, other))


def expected(*, pgaudit: bool) -> list[Told]:
    """The events of USER, in their order."""
    operations = {CREATE: "CREATE TABLE", DO: "DO", DROP: "DROP TABLE"}
    statements = []
    for statement in (CREATE, INSERT, SECOND, FAKE, PARAMETERS, DO, *FAILING, DROP):
        operation = operations.get(statement, statement.split()[0].upper())
        statements.append(Told(EventType.QUERY, statement, operation, FAILING.get(statement)))
        if statement == DO and pgaudit:
            statements += [Told(EventType.QUERY, part, part.split()[0].upper()) for part in PARTS]
    return [
        Told(EventType.LOGIN_SUCCESS),
        *statements,
        Told(EventType.DISCONNECT),
        Told(EventType.LOGIN_FAILED, error_code="28P01"),
        Told(EventType.LOGIN_FAILED, error_code="3D000"),
    ]


def outcomes_are_told(events: list[AuditEvent]) -> bool:
    return all((e.outcome == Outcome.FAILURE) == (e.error_code is not None) for e in events)
