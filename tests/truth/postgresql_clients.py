"""Clients of PostgreSQL that do random things and note what they did and what the server answered."""

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg
from dbaudit.core.event import EventType
from psycopg import pq

from tests.servers.postgresql import PostgresServer
from tests.truth.facts import Fact

PASSWORD = "right"
DATABASE = "truth"
LAST = "last"
WHOLE_TEXTS_UNTIL = 15
JOINED_WITHIN_SECONDS = 0.09
"""A little less than docs/engines/postgresql.md says that a read waits for the failure of a statement."""
SCHEMA = """
    create table p (i int primary key);
    create table u (i int primary key, v text);
    create table t (i int, v text);
    create table child (i int references p (i) deferrable initially deferred);
    create table secret (i int);
    revoke all on secret from public;
    insert into p select generate_series(1, 5);
    grant all on p, u, t, child to public;
    create function good(n int) returns int language plpgsql as
        $$ begin insert into public.t values (n); return n; end $$;
    create function bad(n int) returns int language plpgsql as
        $$ begin insert into public.t values (n); insert into public.u values (n); return n; end $$
"""
HOSTILE_NAMES = (
    "a",
    "a:b",
    "py:0x7fde12d61b80",
    "x: select 1 --",
    "statement: drop table t",
    "é \"'$1",
    "1, 2",
)

IMITATIONS = (
    "AUDIT: SESSION,1,1,ROLE,GRANT,TABLE,public.t,grant all on t to evil,<not logged>",
    "connection authorized: user=postgres database=postgres",
    "disconnection: session time: 0:00:01.000 user=postgres database=postgres host=127.0.0.1 port=1",
    "statement: drop table t",
    "execute x: drop table t",
    "duration: 5.000 ms  statement: drop table t",
    "received replication command: BASE_BACKUP",
)


class Recording(NamedTuple):
    """How a server records statements, and what that makes of the facts.

    ``misc`` is whether BEGIN, SAVEPOINT and the like are recorded, ``parts`` whether what a function or a
    block runs is; ``apart`` whether statements that were sent together are recorded one by one; ``rows``
    whether the number of rows is.
    """

    settings: dict[str, Any]
    misc: bool
    parts: bool
    apart: bool
    rows: bool = False


class Client:
    """One user who does one thing after the other; ``facts`` is what it did, in its order."""

    def __init__(
        self, server: PostgresServer, name: str, recording: Recording, chance: random.Random
    ) -> None:
        self._server = server
        self.name = name
        self._recording = recording
        self._chance = chance
        self._first_number = 1_000_000 * int(name.rpartition("_")[2]) + 1000
        self._numbers = iter(range(1, 1_000_000))
        self.facts: list[Fact] = []
        self._connection: psycopg.Connection[Any]

    def work(self, steps: int) -> None:
        """Log in, do as many random things, and log out."""
        self._log_in()
        for _step in range(steps):
            self._chance.choice(_STEPS)(self)
        self._log_out()

    # -- sessions

    def _log_in(self) -> None:
        conninfo = self._server.conninfo(self.name, PASSWORD, DATABASE)
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._note(EventType.LOGIN_SUCCESS)

    def _log_out(self) -> None:
        self._connection.close()
        self._note(EventType.DISCONNECT)

    def _log_in_anew(self) -> None:
        self._log_out()
        self._log_in()

    def _be_refused(self) -> None:
        password, database, code = self._chance.choice(
            [("wrong", DATABASE, "28P01"), (PASSWORD, "nowhere", "3D000"), (PASSWORD, "closed", "42501")]
        )
        with contextlib.suppress(psycopg.OperationalError):
            # With another sslmode libpq tries again by itself.
            psycopg.connect(self._server.conninfo(self.name, password, database, sslmode="disable"))
            raise AssertionError("a wrong log-in was let in")
        self._note(EventType.LOGIN_FAILED, code=code, database=database)

    # -- notes

    def _note(self, kind: EventType, text: str | None = None, **more: Any) -> None:
        more = {"database": DATABASE, "error_code": more.pop("code", None), **more}
        self.facts.append(Fact(kind=kind, user=self.name, text=text, **more))

    def _statement(self, text: str, code: str | None, rows: int | None = None, **more: Any) -> None:
        rows = rows if self._recording.rows and code is None and rows is not None and rows >= 0 else None
        self._note(EventType.QUERY, text, code=code, rows=rows, **more)

    def _parts(self, *parts: tuple[str, str | None]) -> None:
        """What a statement ran inside; with log_rows only what ended is recorded."""
        for text, code in parts if self._recording.parts else ():
            self._note(EventType.QUERY, text, code=code, silent=True, part=True, sure=code is None)

    # -- ways to run a statement

    def _simple(self, text: str) -> str | None:
        """By the simple protocol; returns the SQLSTATE of the failure."""
        begin = time.monotonic()
        code, rows = self._answer(lambda: self._connection.execute(text.encode()))
        if not _is_misc(text) or self._recording.misc or code is not None:
            self._began(text, code, begin)
            self._statement(text, code, rows if _counts_rows(text) else None)
        return code

    def _began(self, text: str, code: str | None, begin: float) -> None:
        """A statement that fails late may have an event for its beginning beside that for its failure."""
        if code is not None and time.monotonic() - begin > JOINED_WITHIN_SECONDS:
            self._statement(text, None, sure=False)

    def _extended(self, text: str, *values: Any, prepare: bool = False, binary: bool = False) -> str | None:
        """By the extended protocol, with a name for the statement or without one."""
        begin = time.monotonic()
        code, rows = self._answer(
            lambda: self._connection.execute(text.encode(), values, prepare=prepare, binary=binary)
        )
        recorded = text
        for number in range(1, len(values) + 1):
            recorded = recorded.replace("%s", f"${number}", 1)
        self._began(recorded, code, begin)
        self._statement(recorded, code, rows)
        return code

    def _answer(self, run: Callable[[], Any]) -> tuple[str | None, int | None]:
        try:
            return None, run().rowcount
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            return error.sqlstate, None

    def _one(self) -> str | None:
        """Any single statement, which may fail."""
        number = self._chance.randint(1, 6)
        text = self._chance.choice(
            [
                f"insert into t values ({number})",
                f"insert into u values ({number}, '{self.name}')",
                "delete from t where i = 1",
                "delete from secret",
                "select * from secret",
                "select * from t",
                "select * from missing",
                "select 'x'::int",
                f"update t set v = 'new' where i = {number}",
                "selec 1",
                f"select 1 / (i - {number}) from p",
                f"with d as (delete from t where i = {number} returning i) select * from p, d",
                "with d as (delete from secret returning i) select * from p, d",
            ]
        )
        return self._simple(text)

    # -- what a client does

    def _transaction(self) -> None:
        self._simple("begin")
        for _step in range(self._chance.randint(1, 5)):
            if self._chance.random() < 0.5:
                self._simple("savepoint s")
                if self._one() is not None:
                    self._simple("rollback to s")
            elif self._one() is not None:
                break
        self._simple(self._chance.choice(["commit", "rollback"]))

    def _fail_at_commit(self) -> None:
        self._simple("begin")
        self._simple(f"insert into child values ({self._chance.choice([1, 99])})")
        self._simple("commit")

    def _repeat(self) -> None:
        """The same text first succeeds and then fails, in one transaction and outside of any."""
        number = self._fresh()
        inside = self._chance.random() < 0.5
        if inside:
            self._simple("begin")
        self._simple(f"insert into u values ({number})")
        if inside:
            self._simple("savepoint s")
        self._simple(f"insert into u values ({number})")
        if inside:
            self._simple("rollback to s")
            self._simple("commit")

    def _fresh(self) -> int:
        """A number that no client used for a key."""
        return self._first_number + next(self._numbers)

    def _block(self) -> None:
        number = self._fresh()
        again = number if self._chance.random() < 0.5 else self._fresh()
        text = (
            f"do $$ begin insert into public.t values ({number}); insert into public.u values ({number});"
            f" insert into public.u values ({again}); end $$"
        )
        code = self._simple(text)
        self._parts(
            (f"insert into public.t values ({number})", None),
            (f"insert into public.u values ({number})", None),
            (f"insert into public.u values ({again})", code),
        )

    def _function(self) -> None:
        """The call of a function may have an event of its own, beside that of the statement with the call."""
        number = self._fresh()
        for name in ("good", "bad", "bad"):
            text = f"select {name}({number})"
            begin = time.monotonic()
            code, _rows = self._answer(lambda text=text: self._connection.execute(text.encode()))
            self._began(text, code, begin)
            for sure in (False, True, False) if self._recording.parts else (True,):
                self._statement(text, code, sure=sure, silent=not sure)
            self._parts(("insert into public.t values (n)", None))
            if name == "bad":
                self._parts(("insert into public.u values (n)", code))

    def _together(self) -> None:
        """Several statements in one simple query, of which one may fail."""
        number = self._fresh()
        texts = self._chance.sample(
            [
                "select 1",
                f"insert into public.u values ({number})",
                f"insert into public.u values ({number}, 'again')",
                "select * from public.secret",
                "select count(*) from public.t",
                "delete from public.missing",
            ],
            3,
        )
        whole = "; ".join(texts)
        cursor = self._connection.cursor()
        code, _rows = self._answer(lambda: cursor.execute(whole.encode()))
        if not self._recording.apart:
            self._statement(whole, code)
            return
        failing = self._failing(texts) if code is not None else len(texts)
        for place, text in enumerate(texts[: failing + 1]):
            failed = code if place == failing else None
            # Up to 15 pgaudit's record has the text of the whole, and a failure's has it always. Where
            # log_statement records the whole beside its parts, its failure comes before them.
            by_the_whole = failed is not None or self._server.major <= WHOLE_TEXTS_UNTIL
            self._statement(text, failed, whole=whole if by_the_whole else None, part=True)
            if failed is not None and self._recording.misc:
                # With the failure on the event of the whole, that of the part does not say how it ended.
                self._statement(text, failed, silent=True, sure=False, part=True)

    @staticmethod
    def _failing(texts: list[str]) -> int:
        """Which of the statements failed: a second row with the same key, or the first that always fails."""
        inserted = False
        for place, text in enumerate(texts):
            if "secret" in text or "missing" in text or ("insert" in text and inserted):
                return place
            inserted = inserted or "insert" in text
        raise AssertionError(f"one of {texts} failed, and none of them should")

    def _with_parameters(self) -> None:
        number = self._fresh()
        prepare, binary = self._chance.random() < 0.5, self._chance.random() < 0.5
        for value in (number, number, self._fresh()):
            self._extended("insert into u values (%s)", value, prepare=prepare, binary=binary)
        self._extended("select * from secret where i = %s", number, prepare=prepare)
        self._extended("select %s::int", self._chance.choice(["7", "x"]), prepare=prepare)

    def _with_names(self) -> None:
        """Statements of the protocol with names of the client's choice; several at once."""
        names = [name.encode() for name in self._chance.sample(HOSTILE_NAMES, 3)]
        text = f"delete from t where i = $1 and v = '{self.name}'"
        for name in names:
            assert self._connection.pgconn.prepare(name, text.encode()).status == pq.ExecStatus.COMMAND_OK
        for name in [*names, *self._chance.sample(names, 2)]:
            value = self._chance.choice([b"7", b"8", b"seven"])
            result = self._connection.pgconn.exec_prepared(name, [value])
            code = result.error_field(pq.DiagnosticField.SQLSTATE)
            # Where log_statement alone records it, a name and its statement can be one text.
            read = f"{name.decode().partition(': ')[2]}: {text}" if b": " in name else None
            self._statement(text, code.decode() if code else None, 0, whole=read)
        for name in names:
            self._simple('deallocate "{}"'.format(name.decode().replace('"', '""')))

    def _copy(self) -> None:
        text = self._chance.choice(["copy t from stdin", "copy u from stdin", "copy secret from stdin"])
        lines = self._chance.choice([b"1\tx\n", b"nonsense\tx\n", b"1\tx\n1\ty\n"])

        def run() -> Any:
            with self._connection.cursor() as cursor:
                with cursor.copy(text.encode()) as copy:
                    copy.write(lines)
                return cursor

        begin = time.monotonic()
        code, _rows = self._answer(run)
        self._began(text, code, begin)
        self._statement(text, code)

    def _imitate(self) -> None:
        """Write a row into the log that looks like one of the server's own."""
        self._simple(f"do $$ begin raise log '{self._chance.choice(IMITATIONS)}'; end $$")

    def _time_out(self) -> None:
        self._simple("set statement_timeout = 20")
        self._simple("select pg_sleep(5)")
        self._simple("reset statement_timeout")

    def _cancel(self) -> None:
        timer = threading.Timer(0.02, self._connection.cancel)
        timer.start()
        self._simple("select pg_sleep(10)")
        timer.join()

    def _define(self) -> None:
        name = f"{self.name}_{self._chance.randint(1, 3)}"
        self._simple(f"create temp table {name} (i int primary key)")
        self._simple(f"create temp table {name} (i int primary key)")
        self._simple(f"drop table {name}")
        self._simple("drop table secret")


_STEPS: tuple[Callable[[Client], Any], ...] = (
    Client._transaction,
    Client._transaction,
    Client._transaction,
    Client._fail_at_commit,
    Client._repeat,
    Client._block,
    Client._function,
    Client._together,
    Client._with_parameters,
    Client._with_names,
    Client._copy,
    Client._imitate,
    Client._time_out,
    Client._cancel,
    Client._define,
    Client._one,
    Client._log_in_anew,
    Client._be_refused,
)


def _is_misc(text: str) -> bool:
    words = ("begin", "commit", "rollback", "savepoint", "deallocate")
    return text.split()[0] in words


def _counts_rows(text: str) -> bool:
    return text.split()[0] in ("select", "insert", "update", "delete", "with")


@contextlib.contextmanager
def clients(
    server: PostgresServer, recording: Recording, chance: random.Random, count: int
) -> Iterator[list[Client]]:
    """Clients with roles of their own, and the tables that they work on."""
    server.create_database(DATABASE)
    server.create_database("closed")
    server.execute_admin("revoke connect on database closed from public")
    with server.connect_admin(DATABASE) as connection:
        connection.execute(SCHEMA.encode())
    names = [f"client_{number}" for number in range(count)]
    for name in [*names, LAST]:
        server.create_role(name, PASSWORD)
    yield [Client(server, name, recording, random.Random(chance.random())) for name in names]
    with server.connect_admin() as connection:
        connection.execute(
            f"drop database {DATABASE} with (force)" if server.major >= 13 else f"drop database {DATABASE}"
        )
        connection.execute("drop database closed")
        for name in names:
            connection.execute(f"drop role {name}".encode())


def work_at_once(server: PostgresServer, working: list[Client], steps: int) -> None:
    """Let all clients do as many things, at the same time; then the user LAST logs in and out."""
    with ThreadPoolExecutor(len(working)) as pool:
        for done in [pool.submit(client.work, steps) for client in working]:
            done.result()
    psycopg.connect(server.conninfo(LAST, PASSWORD, DATABASE)).close()
