"""The steps of collecting, and how to stop an agent at one of them without a word of it in the agent's code.

The agent's own process calls ``stop_at`` before it starts. At the step it stops itself by SIGSTOP: from then
on it does nothing, whatever thread, until it gets SIGKILL or SIGCONT.
"""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from dbaudit.engine import Engine, Session
from dbaudit.engines.mariadb.engine import MariaDBEngine
from dbaudit.engines.mariadb.session import MariaDBSession
from dbaudit.engines.mongodb.engine import MongoDBEngine
from dbaudit.engines.mongodb.session import MongoDBSession
from dbaudit.engines.mysql.engine import MySQLEngine
from dbaudit.engines.mysql.session import MySQLSession
from dbaudit.engines.postgresql.engine import PostgreSQLEngine
from dbaudit.engines.postgresql.session import PostgreSQLSession
from dbaudit.state import State
from sqlalchemy import event

_ENGINES: tuple[type[Engine], ...] = (PostgreSQLEngine, MariaDBEngine, MySQLEngine, MongoDBEngine)
_SESSIONS: tuple[type[Session], ...] = (PostgreSQLSession, MariaDBSession, MySQLSession, MongoDBSession)


class Step(Enum):
    """A place between two things that happen when a chunk is collected."""

    BEFORE_READING = "before reading"
    AFTER_READING = "after reading"
    AFTER_DECODING = "after decoding"
    IN_THE_TRANSACTION = "in the state's transaction, after the events were inserted"
    BEFORE_THE_COMMIT = "in the state's transaction, before the commit"
    AFTER_THE_COMMIT = "after the state's commit"
    BEFORE_ACKNOWLEDGING = "before acknowledging"
    AFTER_ACKNOWLEDGING = "after acknowledging"


def stop_at(step: Step, passings: int, state: State) -> None:
    """Make this process stop at a step when it comes there for the ``passings``-th time with records."""
    left = passings
    lock = threading.Lock()

    def passed() -> None:
        nonlocal left
        with lock:
            left -= 1
            here = left == 0
        if here:
            os.kill(os.getpid(), signal.SIGSTOP)

    _INSTALL[step](passed, state)


def _replace(classes: Sequence[type], method: str, around: Callable[..., Any]) -> None:
    """Put ``around(original, self, *arguments)`` in the place of a method of each class."""

    def replaced(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda self, *arguments: around(original, self, *arguments)

    for one in classes:
        setattr(one, method, replaced(getattr(one, method)))


def _before_reading(passed: Callable[[], None], state: State) -> None:
    def stopping(read: Callable[..., Any], *arguments: Any) -> Any:
        passed()
        return read(*arguments)

    _replace(_SESSIONS, "read", stopping)


def _after_reading(passed: Callable[[], None], state: State) -> None:
    def stopping(read: Callable[..., Any], *arguments: Any) -> Any:
        chunk = read(*arguments)
        if chunk.records:
            passed()
        return chunk

    _replace(_SESSIONS, "read", stopping)


def _after_decoding(passed: Callable[[], None], state: State) -> None:
    def stopping(decode: Callable[..., Any], *arguments: Any) -> Any:
        decoded = decode(*arguments)
        passed()
        return decoded

    _replace(_ENGINES, "decode", stopping)


def _in_the_transaction(passed: Callable[[], None], state: State) -> None:
    @event.listens_for(state.backend.engine, "after_cursor_execute")
    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT") and " INTO events " in statement:
            passed()


def _before_the_commit(passed: Callable[[], None], state: State) -> None:
    appending = threading.local()

    @event.listens_for(state.backend.engine, "after_cursor_execute")
    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("INSERT") and " INTO events " in statement:
            appending.now = True

    @event.listens_for(state.backend.engine, "commit")
    def committing(connection: Any) -> None:
        if getattr(appending, "now", False):
            appending.now = False
            passed()


def _after_the_commit(passed: Callable[[], None], state: State) -> None:
    append = state.events.append

    def stopping(*arguments: Any) -> Any:
        appended = append(*arguments)
        if appended.stored:
            passed()
        return appended

    state.events.append = stopping


def _before_acknowledging(passed: Callable[[], None], state: State) -> None:
    def stopping(acknowledge: Callable[..., Any], *arguments: Any) -> None:
        passed()
        acknowledge(*arguments)

    _replace(_SESSIONS, "acknowledge", stopping)


def _after_acknowledging(passed: Callable[[], None], state: State) -> None:
    def stopping(acknowledge: Callable[..., Any], *arguments: Any) -> None:
        acknowledge(*arguments)
        passed()

    _replace(_SESSIONS, "acknowledge", stopping)


_INSTALL = {
    Step.BEFORE_READING: _before_reading,
    Step.AFTER_READING: _after_reading,
    Step.AFTER_DECODING: _after_decoding,
    Step.IN_THE_TRANSACTION: _in_the_transaction,
    Step.BEFORE_THE_COMMIT: _before_the_commit,
    Step.AFTER_THE_COMMIT: _after_the_commit,
    Step.BEFORE_ACKNOWLEDGING: _before_acknowledging,
    Step.AFTER_ACKNOWLEDGING: _after_acknowledging,
}
