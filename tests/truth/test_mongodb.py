"""MongoDB: what the clients know that they did, against the events of the server's log and profiler."""

import contextlib
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType
from pymongo.errors import OperationFailure

from tests.conftest import missing_engine_is_told
from tests.engines.mongodb.conftest import OnServer
from tests.engines.mongodb.targets import COLLECTOR, PASSWORD, ROLES
from tests.servers.mongodb import Client, MongoServer
from tests.truth.collecting import collected, now
from tests.truth.facts import Fact, differences

CLIENTS, SESSIONS, STATEMENTS = 4, 3, 25
USER_PASSWORD = "right"
PROFILED, LOGGED = "profiled", "logged"
LARGE = "d" * 60_000
"""More than the profiler keeps of a command, and more than the log does."""


class Worker:
    """One client, with a user and a collection of its own; it notes what it did."""

    def __init__(self, server: MongoServer, number: int, chance: random.Random) -> None:
        self.user = f"worker{number}"
        self.database = (PROFILED, LOGGED)[number % 2]
        self.facts: list[Fact] = []
        self._server = server
        self._chance = chance
        self._things = f"things{number}"
        self._mark = number * 1_000_000
        self._documents: set[int] = set()
        self._inserted = 0
        server.create_user(self.user, USER_PASSWORD, [{"role": "readWrite", "db": self.database}])

    def work(self) -> None:
        """Some sessions, one after the other, and refused log-ins between them."""
        for _session in range(SESSIONS):
            if self._chance.random() < 0.5:
                self._fail_to_log_in()
            with self._server.client(
                username=self.user, password=USER_PASSWORD, appname=self.user, maxPoolSize=1
            ) as client:
                client[self.database].command("ping")
                self._note(EventType.LOGIN_SUCCESS, database="admin")
                for _statement in range(STATEMENTS):
                    self._chance.choice(self._kinds())(client)
            self._note(EventType.DISCONNECT)

    def _kinds(self) -> list[Any]:
        reading = [self._find, self._count, self._distinct, self._aggregate, self._fail_to_find]
        writing = [self._insert, self._insert, self._update, self._delete, self._modify, self._copy]
        return [*reading, *writing, self._be_refused]

    def _fail_to_log_in(self) -> None:
        with (
            self._server.client(username=self.user, password="wrong", appname=self.user) as client,
            contextlib.suppress(OperationFailure),
        ):
            client.admin.command("ping")
        self._note(EventType.LOGIN_FAILED, error_code="AuthenticationFailed", database="admin")

    # -- statements

    def _find(self, client: Client) -> None:
        below = self._below()
        command = {"find": self._things, "filter": {"n": {"$lt": below}}, "comment": self._next()}
        found = self._run(client, command)["cursor"]["firstBatch"]
        self._did(command, rows=len(found))

    def _fail_to_find(self, client: Client) -> None:
        command = {"find": self._things, "filter": {"$nonsense": self._next()}}
        self._run(client, command, "BadValue")
        self._did(command, error_code="BadValue")

    def _count(self, client: Client) -> None:
        command = {
            "count": self._things,
            "query": {"n": {"$lt": self._below()}},
            "comment": str(self._next()),
        }
        self._run(client, command)
        self._did(command)

    def _distinct(self, client: Client) -> None:
        command = {"distinct": self._things, "key": "n", "comment": str(self._next())}
        self._run(client, command)
        self._did(command)

    def _aggregate(self, client: Client) -> None:
        stages = [{"$match": {"n": {"$lt": self._below()}}}, {"$limit": 50}]
        command = {"aggregate": self._things, "pipeline": stages, "cursor": {}, "comment": self._next()}
        self._did(command, rows=len(self._run(client, command)["cursor"]["firstBatch"]))

    def _copy(self, client: Client) -> None:
        stages = [{"$match": {"n": {"$lt": self._below()}}}, {"$out": f"{self._things}_copy"}]
        command = {"aggregate": self._things, "pipeline": stages, "cursor": {}, "comment": self._next()}
        self._run(client, command)
        self._did(command)

    def _insert(self, client: Client) -> None:
        numbers = [self._inserted + number for number in range(self._chance.randint(1, 4))]
        self._inserted += len(numbers)
        refused = bool(self._documents) and self._chance.random() < 0.3
        if refused:
            there = self._chance.choice(sorted(self._documents))
            numbers.insert(self._chance.randrange(len(numbers) + 1), there)
        command = {"insert": self._things, "ordered": True, "comment": self._next()}
        documents = [{"_id": number, "n": number} for number in numbers]
        reply = self._run(client, {**command, "documents": documents})
        self._documents.update(numbers[: reply["n"]])
        assert ("writeErrors" in reply) == refused
        # The server records that it inserted none, or not all, and not why.
        self._did(command, rows=reply["n"], error_code="refused" if refused else None)

    def _update(self, client: Client) -> None:
        """Several parts, each an event; the last one may be refused."""
        parts: list[dict[str, Any]] = []
        for _part in range(self._chance.randint(1, 3)):
            mark = self._next()
            where = {"n": {"$lt": self._below()}, "mark": {"$ne": mark}}
            parts.append({"q": where, "u": {"$set": {"mark": mark}}, "multi": True, "upsert": False})
        if self._chance.random() < 0.3:
            parts[-1] |= {"u": {"$set": {"_id": self._mark}}, "multi": False}
            parts[-1]["q"] = {"_id": {"$in": sorted(self._documents)}, "mark": {"$ne": self._mark}}
        for part in parts:
            # One at a time is also how the server does it, and here each has a count of its own.
            reply = self._run(client, {"update": self._things, "updates": [part]})
            failed = "writeErrors" in reply
            rows = None if failed else reply["nModified"]
            self._did(part, rows=rows, error_code="ImmutableField" if failed else None)

    def _delete(self, client: Client) -> None:
        one, mark = self._chance.choice([*sorted(self._documents), -1]), self._next()
        padding = {"pad": {"$ne": LARGE}} if self._chance.random() < 0.3 else {}
        parts = [{"q": {"_id": one, "mark": {"$ne": mark}, **padding}, "limit": 1}]
        parts.append({"q": {"_id": -2, "mark": {"$ne": mark}}, "limit": 0})
        reply = self._run(client, {"delete": self._things, "deletes": parts})
        self._did(parts[0], rows=reply["n"])
        self._did(parts[1], rows=0)
        self._documents -= {one} if reply["n"] else set()

    def _modify(self, client: Client) -> None:
        one, mark = self._chance.choice([*sorted(self._documents), -1]), self._next()
        command = {"findAndModify": self._things, "query": {"_id": one}, "update": {"$set": {"mark": mark}}}
        reply = self._run(client, command)
        self._did(command, rows=reply["lastErrorObject"]["n"])

    def _be_refused(self, client: Client) -> None:
        command = {"find": "salaries", "filter": {"n": self._next()}}
        with pytest.raises(OperationFailure):
            client["hr"].command(command)
        # The log tells of it, also where the statements around it are in the profiler.
        self._did(command, error_code="Unauthorized", database="hr", part=True)

    # -- noting

    def _run(self, client: Client, command: dict[str, Any], fails_with: str | None = None) -> Any:
        """The answer, in which errors of writes are told and not raised."""
        reply = client[self.database].command(command, check=False)
        assert reply.get("codeName") == fails_with
        return reply

    def _did(self, command: dict[str, Any], **more: Any) -> None:
        self._note(
            EventType.QUERY, text=canonical(json.dumps(command)), **{"database": self.database, **more}
        )

    def _note(self, kind: EventType, **more: Any) -> None:
        self.facts.append(Fact(kind=kind, user=self.user, **more))

    def _next(self) -> int:
        self._mark += 1
        return self._mark

    def _below(self) -> int:
        return self._chance.randint(0, 40)


def canonical(text: str | None) -> str | None:
    """A command as the client sent it and as each source writes it, without what may be cut from it."""
    if text is None:
        return None
    try:
        command = json.loads(text)
    except ValueError:
        return text
    return json.dumps(_kept(command), sort_keys=True)


def _kept(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _kept(inner) for name, inner in value.items() if name not in ("pad", "limit", "$db")}
    return [_kept(inner) for inner in value] if isinstance(value, list) else value


@contextlib.contextmanager
def serving(release: str) -> Iterator[MongoServer]:
    """Every operation is in the log; those in one database are in its profiler instead."""
    with missing_engine_is_told(), MongoServer(release, arguments=["--slowms", "-1"]) as server:
        server.create_user(COLLECTOR, PASSWORD, ROLES)
        with server.client() as client:
            client[PROFILED].create_collection("system.profile", capped=True, size=64 << 20)
            client[PROFILED].command("profile", 2)
        yield server


def all_is_true(release: str, seed: int) -> None:
    chance = random.Random(seed)
    with serving(release) as server:
        workers = [Worker(server, number, random.Random(chance.random())) for number in range(CLIENTS)]
        monitored = OnServer(server, log_source="local")
        begin = now(monitored)
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(worker.work) for worker in workers]:
                done.result()
        with server.client(appname="the end") as client:
            client[PROFILED]["t"].find_one({"the": "end"})
            client[LOGGED]["t"].find_one({"the": "end"})

        def ended(events: list[AuditEvent]) -> bool:
            last = {event.database for event in events if event.application == "the end" and event.query}
            return {PROFILED, LOGGED} <= last

        events = collected(monitored, begin, chance, ended)
    for event in events:
        event.query = canonical(event.query)
        if event.operation == "insert" and event.outcome == "failure":
            event.error_code = "refused"
    facts = [fact for worker in workers for fact in worker.facts]
    assert differences(facts, events) == []


def test_each_event_of_mongodb_is_what_a_client_did(seed: int) -> None:
    all_is_true("6.0.5", seed)


@pytest.mark.many_seeds
@pytest.mark.parametrize("release", ["4.4.2", "5.0.4"])
def test_each_event_of_another_release_is_what_a_client_did(release: str, seed: int) -> None:
    all_is_true(release, seed)
