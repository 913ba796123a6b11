"""Whatever is declared, removed, paused and handed over: each event is stored once, where it belongs."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from dbaudit.core.database import AuditOptions, AuditStatus, Database, Scope
from dbaudit.core.event import EventType
from dbaudit.state import State
from dbaudit.state.events import EventOrder, EventQuery, StoredEvent
from psycopg import sql

from tests.agent.conftest import PASSWORD, Installation
from tests.servers.postgresql import PostgresServer

SEEDS = int(os.environ.get("DBAUDIT_TRUTH_SEEDS", "1"))
NAMES = ("anchor", "shop", "hr")
STEPS = 14


class Work:
    """What clients do on the server, each act with a name of its own by which its event is recognised.

    ``own`` are the acts of each database in their order, ``of_server`` those that belong to none, ``acts``
    all but the knocks at the door.
    """

    def __init__(self, server: PostgresServer, prefix: str, seed: int) -> None:
        self._server = server
        self._prefix = prefix
        self._random = random.Random(seed)
        self._number = 0
        self.own: dict[str, list[str]] = {name: [] for name in NAMES}
        self.of_server: list[str] = []
        self.acts: list[str] = []
        self._stopping = threading.Event()
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._run)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()

    def marked(self, name: str) -> int:
        """How many acts in a database there were, none being under way."""
        with self._one:
            return len(self.own[name])

    def _run(self) -> None:
        while not self._stopping.wait(0.01):
            acts = (self._statements, self._statements, self._refused, self._nowhere, self._door)
            with self._one:
                self._random.choice(acts)()

    def _next(self, kind: str) -> str:
        self._number += 1
        return f"{kind}_{self._prefix}_{self._number}"

    def _statements(self) -> None:
        name = self._random.choice(NAMES)
        with self._server.connect_admin(self._prefix + name) as connection:
            for _batch in range(self._random.randrange(1, 4)):
                act = self._next("ran")
                connection.execute(f"select '{act}'")
                self.own[name].append(act)
                self.acts.append(act)

    def _refused(self) -> None:
        name = self._random.choice(NAMES)
        act = self._next("refused")
        self._log_in(act, self._prefix + name)
        self.own[name].append(act)
        self.acts.append(act)

    def _nowhere(self) -> None:
        act = self._next("nowhere")
        if self._random.random() < 0.5:
            self._log_in("nobody", act)
        else:
            with pytest.raises(psycopg.OperationalError, match="does not exist"):
                self._server.connect_admin(act)
        self.of_server.append(act)
        self.acts.append(act)

    def _log_in(self, user: str, database: str) -> None:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(self._server.conninfo(user, "wrong", database)).close()

    def _door(self) -> None:
        """Knock and go away: the server notes a connection that no log-in follows."""
        with socket.create_connection((self._server.host, self._server.port)) as knocking:
            act = f"port_{knocking.getsockname()[1]}"
        if act not in self.of_server:
            self.of_server.append(act)

    def act_of(self, found: StoredEvent) -> str | None:
        """Which act an event tells of."""
        event, prefix = found.event, self._prefix
        if event.type is EventType.QUERY and event.query and f"'ran_{prefix}_" in event.query:
            return event.query.split("'")[1]
        if event.type is EventType.LOGIN_FAILED:
            for word in (event.user or "", event.database or ""):
                if word.startswith((f"refused_{prefix}_", f"nowhere_{prefix}_")):
                    return word
        port = f"port_{event.source_port}"
        return port if event.type is EventType.CONNECTION and port in self.of_server else None


class Declared:
    """One declaration from its beginning to its end. ``first`` is how many acts were before it collected,
    ``last`` how many there were when it ended. ``widened`` says that it had the whole server for a while.
    """

    def __init__(self, database: Database, name: str, first: int) -> None:
        self.database = database
        self.name = name
        self.first = first
        self.last: int | None = None
        self.widened = False


class Administration:
    """Declares, changes and removes databases, and starts and stops agents, at random."""

    def __init__(
        self, dbaudit: Installation, server: PostgresServer, work: Work, prefix: str, seed: int
    ) -> None:
        self._dbaudit = dbaudit
        self._server = server
        self._work = work
        self._prefix = prefix
        self._random = random.Random(seed)
        self._agents: list[tuple[State, Callable[[], None]]] = []
        self.ever: list[Declared] = []
        self._role = f"collector_{prefix}"
        # One account for all, so that they share their reads; what it may call is in each database by itself.
        first, *others = (sql.Identifier(prefix + name) for name in NAMES)
        server.create_database(prefix + NAMES[0])
        server.create_collector_role(self._role, PASSWORD, prefix + NAMES[0])
        for other in others:
            server.execute_admin(sql.SQL("create database {} template {}").format(other, first))

    @property
    def live(self) -> list[Declared]:
        return [one for one in self.ever if one.last is None]

    def declare(self, name: str) -> None:
        """Declare a database and wait until it is collected."""
        place = {"host": self._server.host, "port": self._server.port, "username": self._role}
        database = self._dbaudit.declare(
            "postgresql",
            database=self._prefix + name,
            password=PASSWORD,
            audit_options=AuditOptions(mask_sensitive_data=False),
            **place,
        )
        self._dbaudit.wait_for_active(database)
        self.ever.append(Declared(database, name, self._work.marked(name)))

    def start_agent(self) -> None:
        state = self._dbaudit.open()
        self._agents.append((state, self._dbaudit.start(state)))

    def stop_agent(self) -> None:
        state, end = self._agents.pop(self._random.randrange(len(self._agents)))
        end()
        state.close()

    def close(self) -> None:
        while self._agents:
            self.stop_agent()

    def step(self) -> None:
        """One change. The anchor is never removed, so that somebody reads what is the server's."""
        one = self._random.choice(self.live)
        status = self._dbaudit.state.databases.get(one.database.id).audit_status
        undeclared = sorted(set(NAMES) - {other.name for other in self.live})
        choice = self._random.choice(("pause", "resume", "remove", "declare", "declare", "agents", "scope"))
        if choice == "pause":
            self._dbaudit.change(one.database, audit_status=AuditStatus.PAUSED)
        elif choice == "resume" and status is AuditStatus.PAUSED:
            self._dbaudit.change(one.database, audit_status=AuditStatus.INITIALIZING)
        elif choice == "remove" and one.name != "anchor":
            self._dbaudit.state.databases.delete(one.database.id)
            one.last = self._work.marked(one.name)
        elif choice == "declare" and undeclared:
            self.declare(self._random.choice(undeclared))
        elif choice == "scope" and status is not AuditStatus.PAUSED:
            self._widen(one)
        elif choice == "agents":
            if len(self._agents) < 2 or self._random.random() < 0.5:
                self.start_agent()
            if len(self._agents) > 1:
                self.stop_agent()

    def _widen(self, one: Declared) -> None:
        """Let a declaration ask for the whole server, and then for its database alone again.

        The change holds from some chunk on: from the first act elsewhere that is stored it has all of them.
        """
        one.widened = True
        acts, begin = self._work.acts, len(self._work.acts)

        def stored_now() -> set[str]:
            return {act for act, where in stored(self._dbaudit.state, self._work) if where == one.database.id}

        def later() -> list[str]:
            """From the first act in another database on. What is the server's is the keeper's at once."""
            there = stored_now()
            others = {act for name, own in self._work.own.items() if name != one.name for act in own}
            first = next((n for n, act in enumerate(acts[begin:], begin) if act in others & there), None)
            return [] if first is None else acts[first:]

        self._dbaudit.change(one.database, scope=Scope.SERVER)
        self._dbaudit.wait_until(lambda: len(later()) > 10, "the events of the whole server")
        wanted = later()
        self._dbaudit.wait_until(lambda: stored_now().issuperset(wanted), "all of the whole server")
        self._dbaudit.change(one.database, scope=Scope.DATABASE)

    def resume_all(self) -> None:
        for one in self.live:
            if self._dbaudit.state.databases.get(one.database.id).audit_status is AuditStatus.PAUSED:
                self._dbaudit.change(one.database, audit_status=AuditStatus.INITIALIZING)


def stored(state: State, work: Work) -> list[tuple[str, str]]:
    """Each stored act with the id of the declaration that it is stored for, the removed ones too."""
    found: list[tuple[str, str]] = []
    after, more = None, True
    while more:
        page = state.events.query(EventQuery(order=EventOrder.STORED, after=after, limit=1000))
        acts = [(work.act_of(one), one.database_id) for one in page.events]
        found += [(act, database_id) for act, database_id in acts if act is not None]
        after, more = page.end, page.more
    return found


def after_narrowing(dbaudit: Installation, work: Work, administration: Administration) -> list[str]:
    """The acts that come once nobody asks for the whole server any more."""
    begin = len(work.acts)

    def is_narrow() -> bool:
        """Whether what was done of late in each live database is stored, and nowhere else."""
        if len(work.acts) < begin + 20:
            return False
        recent = set(work.acts[-20:-10])
        found = [(act, where) for act, where in stored(dbaudit.state, work) if act in recent]
        for one in administration.live:
            own = recent & set(work.own[one.name])
            if not own <= {act for act, where in found if where == one.database.id}:
                return False
            foreign = recent - own - set(work.of_server)
            if any(where == one.database.id and act in foreign for act, where in found):
                return False
        return True

    dbaudit.wait_until(is_narrow, "the scope of the databases alone")
    settled = len(work.acts)
    dbaudit.wait_until(lambda: len(work.acts) > settled + 20, "more work")
    return work.acts[settled:]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_each_event_is_stored_once_where_it_belongs_whatever_is_declared_meanwhile(
    dbaudit: Installation, postgres: PostgresServer, seed: int
) -> None:
    prefix = f"at_random_{seed}_"
    work = Work(postgres, prefix, seed)
    administration = Administration(dbaudit, postgres, work, prefix, seed)
    administration.start_agent()
    administration.declare("anchor")
    try:
        with work.going_on():
            administration.declare("shop")
            for _step in range(STEPS):
                administration.step()
            administration.resume_all()
            narrowed = after_narrowing(dbaudit, work, administration)
        live = {one.name: one for one in administration.live}
        expected = {
            (act, one.database.id) for one in live.values() for act in work.own[one.name][one.first :]
        }

        def missing() -> bool:
            found = stored(dbaudit.state, work)
            return not (expected <= set(found) and {act for act, _where in found}.issuperset(work.of_server))

        dbaudit.wait_until(lambda: not missing(), "storing it all")
    finally:
        administration.close()
    found = stored(dbaudit.state, work)
    assert [pair for pair, number in Counter(found).items() if number > 1] == []
    owners = {one.database.id: one.name for one in administration.ever}
    widened = {one.database.id for one in administration.ever if one.widened}
    of = {act: name for name, acts in work.own.items() for act in acts}
    # Who asked for the whole server has a copy of what is elsewhere.
    copies = [pair for pair in found if pair[1] in widened and of.get(pair[0]) != owners[pair[1]]]
    assert set(copies).isdisjoint((act, where) for act in narrowed for where in widened if act in of)
    not_copied = [pair for pair in found if pair not in set(copies)]
    assert [act for act, number in Counter(act for act, _where in not_copied).items() if number > 1] == []
    elsewhere = [
        (act, owners[where]) for act, where in not_copied if of.get(act, owners[where]) != owners[where]
    ]
    assert elsewhere == []
    everything = set(found)
    for one in administration.ever:
        # What a removed declaration had not read yet is not stored; of what it had read nothing is missing.
        own = work.own[one.name][one.first : one.last]
        acts = [(act, one.database.id) in everything for act in own]
        assert acts == sorted(acts, reverse=True), f"a hole in {one.name}"
