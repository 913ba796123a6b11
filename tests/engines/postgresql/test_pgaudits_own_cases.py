"""What pgaudit's own regression test expects of pgaudit, and what becomes of it.

After sql/pgaudit.sql and expected/pgaudit.out of pgaudit: each statement with the records that it has there,
as CLASS,COMMAND,TYPE,NAME; those of one substatement are one event.
"""

from collections.abc import Iterator

import pytest
from dbaudit.core.event import AuditEvent, EventType

from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.servers.installations import PGAUDIT_MAJORS
from tests.servers.postgresql import PostgresServer

Substatement = tuple[str, ...]
"""The records of one."""

SESSION: tuple[tuple[str, tuple[Substatement, ...]], ...] = (
    ("do $$ begin raise notice 'test'; end $$", (("FUNCTION,DO,,",),)),
    ("create schema test", (("DDL,CREATE SCHEMA,SCHEMA,test",),)),
    ("create table account (id int, name text)", (("DDL,CREATE TABLE,TABLE,public.account",),)),
    (
        "create table test.account_copy as select * from account",
        (("READ,SELECT,TABLE,public.account",), ("DDL,CREATE TABLE AS,TABLE,test.account_copy",)),
    ),
    ("prepare stmt (oid) as select * from account where id = $1", (("READ,PREPARE,,",),)),
    ("execute stmt (1)", (("READ,SELECT,TABLE,public.account",), ("MISC,EXECUTE,,",))),
    ("deallocate stmt", (("MISC,DEALLOCATE,,",),)),
    ("begin", (("MISC,BEGIN,,",),)),
    (
        "declare ctest scroll cursor for select count(*) from (select relname from pg_class limit 1) s",
        (("READ,SELECT,TABLE,pg_catalog.pg_class",), ("READ,DECLARE CURSOR,,",)),
    ),
    ("fetch next from ctest", (("MISC,FETCH,,",),)),
    ("close ctest", (("MISC,CLOSE CURSOR,,",),)),
    ("commit", (("MISC,COMMIT,,",),)),
    ("set pgaudit.log_catalog = off", (("MISC,SET,,",),)),
    ("select count(*) from (select relname from pg_class limit 1) s", ()),
    (
        "create table public.test (id int, description text, constraint test_pkey primary key (id))",
        (("DDL,CREATE TABLE,TABLE,public.test", "DDL,CREATE INDEX,INDEX,public.test_pkey"),),
    ),
    ("analyze test", (("MISC,ANALYZE,,",),)),
    ("grant select on table public.test to public", (("ROLE,GRANT,TABLE,",),)),
    ("select from test", (("READ,SELECT,TABLE,public.test",),)),
    ("select 1, substring('Thomas' from 2 for 3)", (("READ,SELECT,,",),)),
    ("do $$ declare test int; begin select 1 into test; end $$", (("FUNCTION,DO,,",), ("READ,SELECT,,",))),
    ("explain select 1", (("READ,SELECT,,",), ("MISC,EXPLAIN,,",))),
    ("insert into test (id) values (1), (2), (3)", (("WRITE,INSERT,TABLE,public.test",),)),
    (
        (
            "do $$ declare r record; begin for r in select id from test loop "
            "insert into test (id) values (r.id + 100); end loop; end $$"
        ),
        (
            ("FUNCTION,DO,,",),
            ("READ,SELECT,TABLE,public.test",),
            *3 * (("WRITE,INSERT,TABLE,public.test",),),
        ),
    ),
    (
        (
            "do $$ declare t text = 'do_table'; begin execute 'create table ' || t || ' (\"a b\" int)'; "
            "execute 'drop table ' || t; end $$"
        ),
        (
            ("FUNCTION,DO,,",),
            ("DDL,CREATE TABLE,TABLE,public.do_table",),
            ("DDL,DROP TABLE,TABLE,public.do_table",),
        ),
    ),
    (
        "alter table public.test drop column description",
        (("DDL,ALTER TABLE,TABLE COLUMN,public.test.description", "DDL,ALTER TABLE,TABLE,public.test"),),
    ),
    ("alter table public.test rename to test2", (("DDL,ALTER TABLE,TABLE,public.test2",),)),
    ("alter table public.test2 set schema test", (("DDL,ALTER TABLE,TABLE,test.test2",),)),
    (
        "drop table test.test2",
        (
            (
                "DDL,DROP TABLE,TABLE,test.test2",
                "DDL,DROP TABLE,TABLE CONSTRAINT,test_pkey on test.test2",
                "DDL,DROP TABLE,INDEX,test.test_pkey",
            ),
        ),
    ),
    (
        "create schema foo create table foo.bar (id int) create table foo.baz (id int)",
        (
            (
                "DDL,CREATE SCHEMA,SCHEMA,foo",
                "DDL,CREATE TABLE,TABLE,foo.bar",
                "DDL,CREATE TABLE,TABLE,foo.baz",
            ),
        ),
    ),
    (
        (
            "create function public.int_add(a int, b int) returns int language plpgsql as "
            "$$ begin return a + b; end $$"
        ),
        (('DDL,CREATE FUNCTION,FUNCTION,"public.int_add(integer,integer)"',),),
    ),
    (
        "select int_add(1, 1)",
        (("READ,SELECT,,",), ("FUNCTION,EXECUTE,FUNCTION,public.int_add",)),
    ),
    (
        "create aggregate public.sum_test(int) (sfunc=public.int_add, stype=int, initcond='0')",
        (("DDL,CREATE AGGREGATE,AGGREGATE,public.sum_test(integer)",),),
    ),
    (
        "alter aggregate public.sum_test(integer) rename to sum_test2",
        (("DDL,ALTER AGGREGATE,AGGREGATE,public.sum_test2(integer)",),),
    ),
)
"""With pgaudit.log = all and pgaudit.log_relation, as a superuser."""
OF_A_MAJOR: dict[int, dict[str, tuple[Substatement, ...]]] = {
    13: {
        "create table test.account_copy as select * from account": (
            ("READ,SELECT,TABLE,public.account", "WRITE,INSERT,TABLE,test.account_copy"),
            ("DDL,CREATE TABLE AS,TABLE,test.account_copy",),
        )
    },
    18: {
        "drop table test.test2": (
            (
                "DDL,DROP TABLE,TABLE,test.test2",
                "DDL,DROP TABLE,TABLE CONSTRAINT,test_pkey on test.test2",
                "DDL,DROP TABLE,TABLE CONSTRAINT,test_id_not_null on test.test2",
                "DDL,DROP TABLE,INDEX,test.test_pkey",
            ),
        )
    },
}
"""What other versions of pgaudit expect of a statement."""

OBJECTS: tuple[tuple[str, tuple[Substatement, ...]], ...] = (
    ("select * from test3, test2", (("READ,SELECT,,", "READ,SELECT,TABLE,public.test2"),)),
    (
        "select * from vw_test3, test2",
        (("READ,SELECT,,", "READ,SELECT,TABLE,public.test2", "READ,SELECT,VIEW,public.vw_test3"),),
    ),
    (
        "with cte as (select id from test2) insert into test3 select id from cte",
        (("WRITE,INSERT,,", "WRITE,INSERT,TABLE,public.test3", "READ,SELECT,TABLE,public.test2"),),
    ),
    (
        "with cte as (insert into test3 values (1) returning id) insert into test2 select id from cte",
        (("WRITE,INSERT,,", "WRITE,INSERT,TABLE,public.test3"),),
    ),
    (
        (
            "with cte as (update test2 set id = 45 where id = 92 returning id) "
            "insert into test3 select id from cte"
        ),
        (("WRITE,INSERT,,", "WRITE,INSERT,TABLE,public.test3", "WRITE,UPDATE,TABLE,public.test2"),),
    ),
    (
        (
            "with cte as (insert into test2 values (37) returning id) "
            "update test3 set id = cte.id from cte where test3.id <> cte.id"
        ),
        (("WRITE,UPDATE,,", "WRITE,INSERT,TABLE,public.test2"),),
    ),
    (
        "do $$ begin perform test2_change(91); end $$",
        (("READ,SELECT,,",), ("WRITE,UPDATE,,", "WRITE,UPDATE,TABLE,public.test2")),
    ),
)
"""With pgaudit.log = 'read, write', pgaudit.role = auditor and pgaudit.log_statement_once."""

MADE_FOR_OBJECTS = (
    "create role auditor",
    "create table test2 (id int)",
    "create table test3 (id int)",
    "create view vw_test3 as select * from test3",
    (
        "create function test2_change(n int) returns void language plpgsql as "
        "$$ begin update test2 set id = id + 1 where id = n; end $$"
    ),
    "grant select, update on test2 to auditor",
    "grant insert on test3 to auditor",
    "grant select on vw_test3 to auditor",
)


@pytest.fixture(scope="module", params=PGAUDIT_MAJORS, ids="postgresql-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    settings = {"pgaudit.log": "none", "log_destination": "csvlog"}
    with PostgresServer(request.param, pgaudit=True, settings=settings) as started, collector_on(started):
        yield started


def told(event: AuditEvent) -> tuple[str | None, ...]:
    """What an event says of a statement, as far as pgaudit's records name it."""
    operations = (event.detail or {}).get("operations", [event.operation])
    classes = (event.detail or {}).get("command_classes", [event.command_class])
    return (
        event.operation,
        event.command_class,
        *sorted(operations),
        *sorted(classes),
        *sorted(event.objects or ()),
    )


CONSEQUENCE = ("ROLE", "DDL", "WRITE", "FUNCTION", "READ", "MISC")


def expected(substatement: Substatement) -> tuple[str | None, ...]:
    records = [record.split(",", 3) for record in substatement]
    foremost = min(records, key=lambda record: CONSEQUENCE.index(record[0]))
    operations = sorted(dict.fromkeys(record[1] for record in records))
    classes = sorted(dict.fromkeys(record[0] for record in records))
    objects = dict.fromkeys(f"{kind} {name.strip(chr(34))}" for _c, _o, kind, name in records if name)
    return foremost[1], foremost[0], *operations, *classes, *sorted(objects)


def compare(
    server: PostgresServer,
    cases: tuple[tuple[str, tuple[Substatement, ...]], ...],
    before: tuple[str, ...],
) -> None:
    with Collecting(server) as log:
        log.read()
        with server.connect_admin() as connection:
            for statement in before:
                connection.execute(statement.encode())
            connection.execute(b"select 'from here'")
            for statement, _records in cases:
                connection.execute(statement.encode())
        log.until(lambda: log.of("postgres", EventType.DISCONNECT), "the end of the session")
    events = log.of("postgres", EventType.QUERY)
    begin = next(number for number, e in enumerate(events) if e.query == "select 'from here'")
    of_major = OF_A_MAJOR.get(server.major, {})
    wanted = [expected(part) for statement, parts in cases for part in of_major.get(statement, parts)]
    assert [told(e) for e in events[begin + 1 :]] == wanted
    assert log.rejected == []
    assert log.of("postgres", EventType.THREAT_DETECTED) == []


def test_records_of_a_session_become_the_events_of_their_statements(server: PostgresServer) -> None:
    compare(
        server,
        SESSION,
        ("set pgaudit.log = 'all'", "set pgaudit.log_relation = on", "set pgaudit.log_catalog = on"),
    )


def test_records_of_audited_objects_become_the_events_of_their_statements(server: PostgresServer) -> None:
    options = ("pgaudit.log = 'read, write'", "pgaudit.role = auditor", "pgaudit.log_statement_once = on")
    compare(server, OBJECTS, (*MADE_FOR_OBJECTS, *(f"set {option}" for option in options)))
