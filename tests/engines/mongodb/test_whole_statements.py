"""Statements of real servers of each release that are logged cut, or in parts, or without their outcome."""

import base64
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent
from dbaudit.engine import EventType, Outcome
from pymongo import DeleteOne, InsertOne, UpdateOne, WriteConcern
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

from tests.conftest import missing_engine_is_told
from tests.engines.mongodb.conftest import DATABASE, USER, USER_PASSWORD, collecting, with_users
from tests.servers.mongodb import MongoServer, replica_set

PADDING = {"a": {"$in": ["d" * 100_000]}}
"""A filter of more than is logged: anybody can send it."""


@pytest.fixture(scope="module", params=["4.4.2", "5.0.4", "6.0.5"])
def server(request: pytest.FixtureRequest) -> Iterator[MongoServer]:
    """Every operation is in its log, and in the profiler of the database `profiled`."""
    with missing_engine_is_told(), MongoServer(request.param, arguments=["--slowms", "-1"]) as started:
        with_users(started)
        started.create_user("writer", USER_PASSWORD, ["readWriteAnyDatabase"])
        with started.client() as client:
            client["profiled"].command("profile", 2)
        yield started


@pytest.fixture(params=["profiled", "logged"])
def place(request: pytest.FixtureRequest) -> str:
    """The database whose statements are told by the profiler, and one whose are told by the log."""
    return str(request.param)


@contextlib.contextmanager
def working(
    server: MongoServer, database: str
) -> Iterator[tuple[Collection[dict[str, Any]], list[AuditEvent]]]:
    """A new collection; and its events, as soon as the block has ended."""
    begin = collecting(server, log_source="local")
    events: list[AuditEvent] = []
    with begin as reading:
        with server.client(
            username="writer", password=USER_PASSWORD, appname="writing", maxPoolSize=1
        ) as client:
            with server.client() as root:
                root[database].drop_collection("t")
            yield client[database]["t"], events
        with server.client(username="writer", password=USER_PASSWORD, appname="writing") as client:
            client[database]["t"].find_one({"a": "the end"})

        def ended() -> bool:
            return any("the end" in (event.query or "") for event in reading.events)

        reading.until(ended, "the end of the work")
        events += [
            event
            for event in reading.events
            if event.type is EventType.QUERY
            and event.application == "writing"
            and event.database == database
            and "the end" not in (event.query or "")
        ]
        assert reading.rejected == []


def test_padded_command_is_told_with_its_operation_class_and_rows(server: MongoServer, place: str) -> None:
    with working(server, place) as (things, events):
        things.insert_many([{"a": n} for n in range(3)])
        list(things.find(PADDING))
        things.delete_many({"$or": [PADDING, {"a": 1}]})
        things.update_many({"$or": [PADDING, {"a": 2}]}, {"$set": {"b": 1}})
        things.distinct("a", PADDING)
        things.find_one_and_update(PADDING, {"$set": {"b": 1}})
        list(things.aggregate([{"$match": PADDING}]))
        list(things.aggregate([{"$match": PADDING}, {"$out": "copy"}]))
    told = [(e.operation, e.command_class, e.objects, e.rows_affected) for e in events]
    thing = (f"{place}.t",)
    assert told == [
        ("insert", "WRITE", thing, 3),
        ("find", "READ", thing, 0),
        ("remove", "WRITE", thing, 1),
        ("update", "WRITE", thing, 1),
        ("distinct", "READ", thing, None),
        ("findAndModify", "WRITE", thing, 0),
        ("aggregate", "READ", thing, 0),
        ("aggregate", "WRITE", thing, 0),
    ]
    assert [(e.detail or {}).get("truncated") for e in events] == [None, *[True] * 7]
    assert {e.outcome for e in events} == {Outcome.SUCCESS}
    assert not any("$truncated" in (e.query or "") for e in events)


def test_each_part_of_an_update_or_a_delete_is_one_event_with_its_own_rows(
    server: MongoServer, place: str
) -> None:
    with working(server, place) as (things, events):
        things.insert_many([{"a": n} for n in range(9)])
        things.update_one({"a": 1}, {"$set": {"b": 1}})
        things.update_one({"a": 77}, {"$set": {"b": 1}}, upsert=True)
        things.bulk_write(
            [
                UpdateOne({"a": 2}, {"$set": {"b": 1}}),
                UpdateOne({"a": 88}, {"$set": {"b": 1}}),
                DeleteOne({"a": 3}),
                InsertOne({"a": 99}),
            ]
        )
        things.delete_many({"a": {"$gt": 6}})
    assert [(e.operation, e.rows_affected) for e in events] == [
        ("insert", 9),
        ("update", 1),
        ("update", 1),
        ("update", 1),
        ("update", 0),
        ("remove", 1),
        ("insert", 1),
        ("remove", 4),
    ]


def test_refused_part_of_an_update_fails_and_the_one_before_it_does_not(
    server: MongoServer, place: str
) -> None:
    with working(server, place) as (things, events):
        things.insert_one({"_id": 1, "a": 1})
        with pytest.raises(BulkWriteError):
            things.bulk_write(
                [UpdateOne({"a": 1}, {"$set": {"b": 1}}), UpdateOne({"a": 1}, {"$set": {"_id": 2}})]
            )
    assert [(e.operation, e.outcome, e.error_code) for e in events[1:]] == [
        ("update", Outcome.SUCCESS, None),
        ("update", Outcome.FAILURE, "ImmutableField"),
    ]


def test_insert_of_which_documents_are_refused_is_no_success(server: MongoServer, place: str) -> None:
    """The server records no error of it: only how many were inserted, and how long its reply was."""
    with working(server, place) as (things, events):
        things.insert_one({"_id": 1})
        with pytest.raises(DuplicateKeyError):
            things.insert_one({"_id": 1})
        with pytest.raises(BulkWriteError):
            things.insert_many([{"_id": 2}, {"_id": 1}, {"_id": 3}])
    assert [(e.outcome, e.rows_affected) for e in events] == [
        (Outcome.SUCCESS, 1),
        (Outcome.FAILURE, 0),
        (Outcome.FAILURE, 1),
    ]
    assert all("reason" in (e.detail or {}) for e in events[1:])


def test_outcome_of_an_insert_into_a_replica_set_is_told_or_left_open_but_never_wrong() -> None:
    with missing_engine_is_told(), replica_set(members=1) as (server,):
        with_users(server)
        server.create_user("writer", USER_PASSWORD, ["readWriteAnyDatabase"])
        with server.client() as root:
            root["profiled"].command("profile", 2)
        with working(server, "profiled") as (things, events):
            things.insert_one({"_id": 1})
            with pytest.raises(DuplicateKeyError):
                things.insert_one({"_id": 1})
            with pytest.raises(BulkWriteError):
                things.insert_many([{"_id": 2}, {"_id": 1}])
        assert [e.outcome for e in events if e.operation == "insert"] == [
            Outcome.SUCCESS,
            Outcome.FAILURE,
            None,
        ]


def test_both_users_of_a_connection_are_told_where_a_server_lets_both_log_in(
    server: MongoServer, place: str
) -> None:
    with working(server, place) as (things, events):
        # What is sent unacknowledged is in no session: those are for one user.
        without_session = things.with_options(write_concern=WriteConcern(w=0))
        without_session.insert_one({"a": "alone"})
        with contextlib.suppress(OperationFailure):
            log_in_as_well(things.database.client[DATABASE], USER, USER_PASSWORD)
        without_session.insert_one({"a": "together"})
        with contextlib.suppress(OperationFailure):
            things.find_one()  # answered when the other one is done
    alone, together = (e for e in events if e.operation == "insert")
    assert (alone.user, alone.detail) == ("writer", None)
    both = {"users": ["admin.writer", f"{DATABASE}.{USER}"]}
    assert together.user in ("writer", USER)
    assert together.detail == (both if server.release < "6" else None)


def log_in_as_well(database: Database[dict[str, Any]], user: str, password: str) -> None:
    """SCRAM-SHA-256 over the connection that is open already: drivers of today take another one."""
    bare = f"n={user},r={secrets.token_urlsafe(18)}"
    started = database.command("saslStart", mechanism="SCRAM-SHA-256", payload=b"n,," + bare.encode())
    first = started["payload"].decode()
    fields = dict(field.split("=", 1) for field in first.split(","))
    final = f"c=biws,r={fields['r']}"
    salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
    key = hmac.digest(hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds), b"Client Key", "sha256")
    signed = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{first},{final}".encode(), "sha256")
    proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signed, strict=True))).decode()
    conversation = started["conversationId"]
    reply = database.command(
        "saslContinue", conversationId=conversation, payload=f"{final},p={proof}".encode()
    )
    while not reply["done"]:
        reply = database.command("saslContinue", conversationId=conversation, payload=b"")
