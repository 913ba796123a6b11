"""Clients of MySQL and MariaDB that do random things and note what they did and what the server answered."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import pymysql
from dbaudit.core.event import EventType
from pymysql.constants import CLIENT

from tests.servers.mysql import MySQLServer
from tests.truth.facts import Fact

PASSWORD = "right"
LAST = "last"
LOG_INS_AT_ONCE = 4
# They read as the rest of a row, or as another row. 5.6 takes 16 characters.
USERS = ("Access denied", "u on b using TCP", "a@1.2.3.4 on db", "o'neil] @ x [y")
DATABASES = ("a on b using c", "on x using SSL/TLS", "x'@'10.9.9.9", "' to database 'y", "q' (using passw")
TEXTS = (
    "plain",
    "O\\'Brien",
    "tab\\tand\\nbreak",
    "two\nlines",
    "ä日本",
    "-- none",
    "/* none */",
    "a;b",
    "%s ?",
)
SCHEMA = (
    "CREATE DATABASE shop",
    "CREATE DATABASE `on x using SSL/TLS`",
    "CREATE TABLE shop.t (i INT PRIMARY KEY)",
    "CREATE PROCEDURE shop.good(n INT) SELECT n",
    "CREATE PROCEDURE shop.bad(n INT) INSERT INTO shop.t VALUES (n), (n)",
)


class Recording(NamedTuple):
    """What a server's general log has: whether statements that do not parse, whether statements that were
    sent together one by one, and whether the text that a PREPARE prepares.
    """

    unparsed: bool
    apart: bool
    prepared: bool


class Client:
    """One user who does one thing after the other; ``facts`` is what it did, in its order."""

    def __init__(self, server: MySQLServer, name: str, recording: Recording, chance: random.Random) -> None:
        self._server = server
        self.name = name
        self._recording = recording
        self._chance = chance
        self._number = chance.randrange(1_000_000)
        self.facts: list[Fact] = []
        self._connection: pymysql.Connection[Any] | None = None

    def work(self, steps: int) -> None:
        """Log in, do as many random things, and log out."""
        self._log_in()
        doing = (
            *([self._select] * 4 + [self._write] * 4 + [self._fail] * 2),
            *(self._unparsed, self._use, self._choose, self._together, self._prepare, self._call),
            *(self._begin, self._again, self._refused, self._refused),
        )
        for _each in range(steps):
            self._chance.choice(doing)()
        self._log_out()

    # -- sessions

    def _log_in(self, database: str | None = None) -> None:
        self._connection = self._server.connect(
            self.name, PASSWORD, database=database, client_flag=CLIENT.MULTI_STATEMENTS
        )
        self._note(EventType.CONNECTION, database=database)
        self._note(EventType.LOGIN_SUCCESS, database=database)
        self._did("SET NAMES utf8mb4")

    def _log_out(self) -> None:
        assert self._connection is not None
        self._connection.close()
        self._note(EventType.DISCONNECT)

    def _again(self) -> None:
        self._log_out()
        self._log_in(self._chance.choice([None, "shop", "on x using SSL/TLS"]))

    def _refused(self) -> None:
        """A log-in that fails; of one to a database that is not there the server writes no refusal."""
        database = self._chance.choice([None, "mysql", "shop", *DATABASES])
        password = self._chance.choice([PASSWORD, "wrong"])
        try:
            self._server.connect(self.name, password, database=database).close()
        except pymysql.err.OperationalError as error:
            code = str(error.args[0])
            self._note(EventType.CONNECTION, database=database)
            self._note(EventType.LOGIN_FAILED, error_code=code, database=database)
        else:
            for kind in (EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.DISCONNECT):
                self._note(kind, database=None if kind is EventType.DISCONNECT else database)
            self._did("SET NAMES utf8mb4")

    # -- statements

    def _select(self) -> None:
        self._run(f"select {self._next()}, '{self._chance.choice(TEXTS)}'")

    def _write(self) -> None:
        """Many of these fail: the key is there already."""
        self._run(f"insert into shop.t values ({self._chance.randrange(40)})")

    def _fail(self) -> None:
        self._run(f"select * from shop.nosuch{self._next()}")

    def _unparsed(self) -> None:
        self._run(f"selec {self._next()}", recorded=self._recording.unparsed)

    def _use(self) -> None:
        database = self._chance.choice(["shop", "mysql", "`on x using SSL/TLS`", "`x'@'10.9.9.9`"])
        self._run(f"{self._chance.choice(['use', 'USE'])} {database}", silent=False)

    def _choose(self) -> None:
        """COM_INIT_DB, which has no text."""
        assert self._connection is not None
        database = self._chance.choice(["shop", "mysql", *DATABASES])
        code = None
        try:
            self._connection.select_db(database)
        except pymysql.err.OperationalError as error:
            code = str(error.args[0])
        self._note(EventType.QUERY, error_code=code)

    def _together(self) -> None:
        parts = [f"select {self._next()};", f"select {self._next()};", f"select {self._next()}"]
        self._execute("".join(parts))
        for text in parts if self._recording.apart else ["".join(parts)]:
            self._did(text)

    def _prepare(self) -> None:
        number = self._next()
        self._execute(f"prepare s from 'select {number}, ?'")
        self._did(
            f"prepare s from 'select {number}, ?'" if self._recording.prepared else "PREPARE s FROM ..."
        )
        self._run("set @value = 7")
        self._run("execute s using @value")
        self._did(f"select {number}, 7")

    def _call(self) -> None:
        self._run(f"call shop.{self._chance.choice(['good', 'bad'])}({self._next()})")

    def _begin(self) -> None:
        for text in ("begin", f"delete from shop.t where i = {self._chance.randrange(40)}", "rollback"):
            self._run(text)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _run(self, text: str, *, recorded: bool = True, silent: bool = True) -> None:
        code = self._execute(text)
        if recorded:
            self._note(EventType.QUERY, text=text, error_code=code, silent=silent)

    def _execute(self, text: str) -> str | None:
        assert self._connection is not None
        with self._connection.cursor() as cursor:
            try:
                cursor.execute(text)
                while cursor.nextset():
                    pass
            except pymysql.err.MySQLError as error:
                return str(error.args[0])
        return None

    def _did(self, text: str) -> None:
        self._note(EventType.QUERY, text=text)

    def _note(self, kind: EventType, **known: Any) -> None:
        self.facts.append(Fact(kind=kind, user=self.name, **known))


@contextmanager
def clients(server: MySQLServer, recording: Recording, chance: random.Random) -> Iterator[list[Client]]:
    """Clients with users and a schema of theirs."""
    for statement in SCHEMA:
        server.execute_admin(statement)
    for name in (*USERS, LAST):
        server.create_user(name, PASSWORD, "ALL ON shop.*", "ALL ON `on x using SSL/TLS`.*")
    yield [Client(server, name, recording, random.Random(chance.random())) for name in USERS]


def work_at_once(server: MySQLServer, working: list[Client], steps: int) -> None:
    """Have all of them work, and then one more log out."""
    with ThreadPoolExecutor(len(working)) as pool:
        for done in [pool.submit(client.work, steps) for client in working]:
            done.result()
    server.connect(LAST, PASSWORD).close()


def try_to_log_in(server: MySQLServer, chance: random.Random, tries: int) -> list[Fact]:
    """Refused log-ins, some at once, to a server whose general log is off."""
    facts: list[Fact] = []
    noting = threading.Lock()

    def attempt(name: str, database: str | None, password: str) -> None:
        with suppress(pymysql.err.OperationalError):
            try:
                server.connect(name, password, database=database).close()
            except pymysql.err.OperationalError as error:
                code = str(error.args[0])
                asked = database if code == "1044" else None
                with noting:
                    facts.append(
                        Fact(kind=EventType.LOGIN_FAILED, user=name, error_code=code, database=asked)
                    )

    with ThreadPoolExecutor(LOG_INS_AT_ONCE) as pool:
        for _each in range(tries):
            name = chance.choice([*USERS, "nobody"])
            pool.submit(attempt, name, chance.choice([None, *DATABASES]), chance.choice([PASSWORD, "wrong"]))
    return facts
