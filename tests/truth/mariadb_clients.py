"""Clients of MariaDB that do random things and note what they did and what the server answered."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pymysql
from dbaudit.core.event import EventType
from pymysql.constants import CLIENT, COMMAND

from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import quoted
from tests.truth.facts import Fact

PASSWORD = "right"
ODD_TEXTS = (
    "it's",
    'say "hi"',
    "back\\slash",
    "line\nbreak\r\n\tand more",
    "ünï 日本 🐘",
    "', 0,QUERY,x,'",
    "%s",
)
SYNTAX_ERROR = "1064"
_CALL = re.compile(r"call (\w+)\.p\((\d+)\)\Z")
_AUTHENTICATION = b"mysql_native_password\0"


@dataclass
class Client:
    """One user in one session after the other. ``other`` is the account that it changes to at times.

    ``changes`` counts the successful changes of the user on an open connection.
    """

    server: MariaDBServer
    user: str
    other: str
    database: str
    chance: random.Random
    facts: list[Fact] = field(default_factory=list)
    changes: int = 0
    _connection: Any = None
    _now: str = ""
    _in: str | None = None
    _number: int = 0

    def work(self, steps: int) -> None:
        """Random work, from a log-in to a log-out."""
        self._log_in()
        actions: list[tuple[int, Callable[[], None]]] = [
            (30, self._statement),
            (6, self._several_statements),
            (6, self._prepared_by_text),
            (6, self._prepared),
            (4, self._transaction),
            (3, self._use),
            (3, self._choose_database),
            (3, self._change_user),
            (2, self._log_in_again),
            (3, self._be_refused),
        ]
        weights = [weight for weight, _action in actions]
        for _step in range(steps):
            self.chance.choices(actions, weights)[0][1]()
        self._log_out()

    # -- statements

    def _statement(self) -> None:
        self._run(self._text())

    def _text(self) -> str:
        self._number += 1
        mark, table = f"/* {self._number} */", f"{self.database}.t"
        word = quoted(self.chance.choice(ODD_TEXTS))
        return self.chance.choice(
            [
                f"select {word} {mark}",
                f"insert into {table} values ({self._number}, {word})",
                f"insert into {table} values (0, {word}) {mark}",
                f"update {table} set v = {word} where id = {self.chance.randrange(20)} {mark}",
                f"delete from {table} where id = {self.chance.randrange(1, 20)} {mark}",
                f"select * from {self.database}.nosuch {mark}",
                f"select nosuch from {table} {mark}",
                f"select * from {self.database}_denied.t {mark}",
                f"selec {word} {mark}",
                f"call {self.database}.p({self._number})",
                f"create table {self.database}.t{self._number} (a int)",
                f"drop table {self.database}.t{self.chance.randrange(20)} {mark}",
                f"set @a = {word} {mark}",
            ]
        )

    def _run(self, text: str) -> str | None:
        """A statement by itself; returns the number of the error that it ended with."""
        code = self._try(lambda: self._connection.query(text))
        self._note(text, code)
        return code

    def _several_statements(self) -> None:
        texts = [self._text() for _each in range(self.chance.randrange(2, 4))]
        code = self._try(lambda: self._connection.query(";".join(texts)))
        done = 0
        while code is None and done < len(texts) - 1:
            self._note(texts[done], None)
            done += 1
            code = self._try(self._connection.next_result)
        # Where a statement ends that is not understood is not known.
        self._note(";".join(texts[done:]) if code == SYNTAX_ERROR else texts[done], code)

    def _prepared_by_text(self) -> None:
        text = self._text()
        if self._run(f"prepare s from {quoted(text)}") is None:
            for _each in range(self.chance.randrange(3)):
                # Both are recorded: what was executed, and the statement that did it.
                code = self._try(lambda: self._connection.query("execute s"))
                self._note(text, code)
            self._run("deallocate prepare s")

    def _prepared(self) -> None:
        """As most drivers do: with a command of the protocol of its own."""
        text = self._text()
        number = self._command(COMMAND.COM_STMT_PREPARE, text.encode(), self._prepared_number)
        if isinstance(number, str):
            self._note(text, number)
            return
        for _each in range(self.chance.randrange(3)):
            execute = number.to_bytes(4, "little") + b"\0" + (1).to_bytes(4, "little")
            code = self._command(COMMAND.COM_STMT_EXECUTE, execute, self._skip_result)
            self._note(text, code if isinstance(code, str) else None)
        self._connection._execute_command(COMMAND.COM_STMT_CLOSE, number.to_bytes(4, "little"))

    def _transaction(self) -> None:
        self._run(self.chance.choice(["begin", "start transaction"]))
        for _each in range(self.chance.randrange(3)):
            self._run(self._text())
        self._run(self.chance.choice(["commit", "rollback"]))

    # -- databases

    def _use(self) -> None:
        name = self.chance.choice([self.database, f"{self.database}_other", f"{self.database}_denied"])
        text = f"use {name}"
        code = self._try(lambda: self._connection.query(text))
        if code is None:
            # A database that was chosen stands in the record of the choosing already.
            self._in = name
        self._note(text, code)

    def _choose_database(self) -> None:
        """With a command of the protocol, which is not recorded."""
        name = self.chance.choice([self.database, f"{self.database}_denied"])
        if self._try(lambda: self._connection.select_db(name)) is None:
            self._in = name if self._in is not None else None

    # -- sessions

    def _log_in(self) -> None:
        self.connect(self.chance.choice([None, self.database]))
        self._note_of(EventType.CONNECTION, self._in)
        self._note_of(EventType.LOGIN_SUCCESS, self._in)
        self._note("SET NAMES utf8mb4", None)

    def connect(self, database: str | None) -> None:
        """A session, of which nothing is noted."""
        self._connection = self.server.connect(
            self.user, PASSWORD, database=database, client_flag=CLIENT.MULTI_STATEMENTS
        )
        self._now, self._in = self.user, database

    def _log_out(self) -> None:
        self._note_of(EventType.DISCONNECT, None)
        if self.chance.random() < 0.3:
            self._connection._force_close()  # as a program that dies
        else:
            self._connection.close()

    def _log_in_again(self) -> None:
        self._log_out()
        self._log_in()

    def _be_refused(self) -> None:
        password, database, code = self.chance.choice(
            [
                ("wrong", None, 1045),
                ("wrong", self.database, 1045),
                (PASSWORD, f"{self.database}_denied", 1044),
            ]
        )
        given = self._try(lambda: self.server.connect(self.user, password, database=database))
        assert given == str(code)
        self.facts.append(Fact(kind=EventType.CONNECTION, user=self.user))
        self.facts.append(Fact(kind=EventType.LOGIN_FAILED, user=self.user, error_code=given))
        self.facts.append(Fact(kind=EventType.DISCONNECT, user=self.user))

    def _change_user(self) -> None:
        user = self.other if self._now == self.user else self.user
        password = self.chance.choice([PASSWORD, PASSWORD, "wrong"])
        database = self.chance.choice([None, self.database])
        code = self.change(user, password, database)
        if code is None:
            self.changes += 1
            # The server names the database of the first table that is touched from here on.
            self._now, self._in = user, None
            return
        # The server ends the session of the user that it was before.
        self.facts.append(Fact(kind=EventType.LOGIN_FAILED, user=user, error_code=code))
        self._note_of(EventType.DISCONNECT, None)
        self._connection._force_close()
        self._log_in()

    def change(self, user: str, password: str, database: str | None) -> str | None:
        """Become another user on this connection; returns the number of the error that came of it."""
        scramble = pymysql._auth.scramble_native_password  # type: ignore[attr-defined]  # of its own
        connection = self._connection
        answer = scramble(password.encode(), connection.salt[:20])
        request = (
            user.encode() + b"\0" + bytes([len(answer)]) + answer + (database or "").encode() + b"\0"
            # utf8mb4, how the password was answered, and no attributes of the connection
            + b"\x2d\0" + _AUTHENTICATION + b"\0"
        )  # fmt: skip

        def change() -> None:
            connection._execute_command(COMMAND.COM_CHANGE_USER, request)
            packet = connection._read_packet()
            if packet.is_auth_switch_request():
                packet.read_uint8()
                packet.read_string()
                connection.write_packet(scramble(password.encode(), packet.read_all()[:20]))
                connection._read_packet()

        return self._try(change)

    # -- what is noted

    def _note(self, text: str, code: str | None) -> None:
        fact = Fact(kind=EventType.QUERY, user=self._now, text=text, error_code=code, database=self._in)
        self.facts.append(fact)
        called = _CALL.match(text)
        if called is not None:
            # What the procedure runs is recorded beside its call, with the value in place of the parameter.
            inside = f"insert into {called[1]}.t values (- NAME_CONST('n',{called[2]}), 'p')"
            self.facts.append(replace(fact, text=inside, part=True, database=None))

    def _note_of(self, kind: EventType, database: str | None) -> None:
        self.facts.append(Fact(kind=kind, user=self._now, database=database))

    # -- the protocol

    def _try(self, action: Callable[[], object]) -> str | None:
        try:
            action()
        except pymysql.err.MySQLError as error:
            return str(error.args[0])
        return None

    def _command(self, command: int, data: bytes, answer: Callable[[], int]) -> int | str:
        """The answer, or the number of the error."""
        try:
            self._connection._execute_command(command, data)
            return answer()
        except pymysql.err.MySQLError as error:
            return str(error.args[0])

    def _prepared_number(self) -> int:
        packet = self._connection._read_packet()
        packet.read_uint8()
        number = int(packet.read_uint32())
        columns, parameters = packet.read_uint16(), packet.read_uint16()
        for count in (parameters, columns):
            for _each in range(count + (1 if count else 0)):
                self._connection._read_packet()
        return number

    def _skip_result(self) -> int:
        packet = self._connection._read_packet()
        if packet.is_ok_packet():
            return 0
        ends = 0
        while ends < 2:
            ends += bool(self._connection._read_packet().is_eof_packet())
        return 0
