"""The profilers of a server: the documents of system.profile of each database that has its profiler on.

The collection is capped: documents keep the order of their insertion, their record ids increase by one, and
the oldest are dropped. So a jump in the record ids means that so many documents were lost.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import bson
from bson.errors import BSONError

from dbaudit.core.clock import from_us, now_us
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.position import ProfilePosition

COLLECTION = "system.profile"
_NOT_PROFILED = frozenset({"local", "config"})
_BEHIND = timedelta(seconds=60)
"""How much earlier the time of a document may be than that of a document inserted before it."""


class ProfileRead(NamedTuple):
    """New documents with their record ids, and what was lost before them."""

    documents: list[tuple[int, bytes]]
    after: ProfilePosition
    gaps: tuple[AuditEvent, ...] = ()
    more: bool = False


def profiled_databases(connection: MemberConnection) -> dict[str, int]:
    """The databases whose profiler is on, each with its level: 1 for slow operations, 2 for all."""
    answer = connection.command({"listDatabases": 1, "nameOnly": True})
    levels = {}
    for name in (str(database["name"]) for database in answer["databases"]):
        if name in _NOT_PROFILED:
            continue
        try:
            level = int(connection.command({"profile": -1}, name).get("was", 0))
        except ConfigurationError as error:
            if error.code is not ErrorCode.PERMISSION_MISSING:
                raise
            continue
        if level > 0:
            levels[name] = level
    return levels


def profile_now(connection: MemberConnection, database: str) -> ProfilePosition:
    """The position after the newest document."""
    newest = connection.raw_documents(database, COLLECTION, {}, newest_first=True, limit=1)
    return _behind(newest[-1]) if newest else ProfilePosition()


def read_profile(
    connection: MemberConnection, database: str, position: ProfilePosition, most: int
) -> ProfileRead:
    """At most ``most`` documents after ``position``."""
    newest = connection.raw_documents(database, COLLECTION, {}, newest_first=True, limit=1)
    if not newest or _behind(newest[0]) == position:
        return ProfileRead([], position)
    (oldest, *_rest) = connection.raw_documents(database, COLLECTION, {}, limit=1) or newest
    gaps: tuple[AuditEvent, ...] = ()
    if position.number and _was_recreated(connection, database, position, oldest, newest[0]):
        gaps = (_gap(connection.place, database, position, "The profiler's collection was recreated.", None),)
        position = ProfilePosition()
    expected = max(position.number + 1, oldest[0])
    documents = _from(connection, database, position, expected, most)
    if position.number and documents and documents[0][0] > position.number + 1:
        # More may have been dropped since the oldest was read: the agent's own queries are profiled too.
        lost = documents[0][0] - position.number - 1
        reason = "The profiler's collection was too small for what was done between two readings."
        gaps = (*gaps, _gap(connection.place, database, position, reason, lost))
    after = _behind(documents[-1]) if documents else position
    return ProfileRead(documents, after, gaps, more=len(documents) >= most)


def _from(
    connection: MemberConnection, database: str, position: ProfilePosition, expected: int, most: int
) -> list[tuple[int, bytes]]:
    """The documents from the record id ``expected`` on; the time only saves the server from reading older
    ones.
    """
    wheres: list[dict[str, Any]] = [{}]
    if position.time_ms:
        wheres.insert(0, {"ts": {"$gte": from_us(position.time_ms * 1000) - _BEHIND}})
    for where in wheres:
        documents: list[tuple[int, bytes]] = []
        skipped = 0
        # What is at the time of the position, and was read already, comes along.
        while not documents:
            found = connection.raw_documents(database, COLLECTION, where, limit=most + skipped)
            documents = [document for document in found if document[0] >= expected][:most]
            if len(found) < most + skipped:
                break
            skipped = 2 * len(found)
        if documents and documents[0][0] == expected:
            return documents
    return documents


def _was_recreated(
    connection: MemberConnection,
    database: str,
    position: ProfilePosition,
    oldest: tuple[int, bytes],
    newest: tuple[int, bytes],
) -> bool:
    """Whether the collection was recreated since ``position``."""
    if newest[0] < position.number:
        return True
    if oldest[0] > position.number:
        return False  # what the position names is gone: it gave way
    time_us = position.time_ms * 1000
    where = {"ts": from_us(time_us)} if time_us else {}
    there = connection.raw_documents(database, COLLECTION, where, limit=10_000)
    return not any(_behind(document) == position for document in there)


def _behind(document: tuple[int, bytes]) -> ProfilePosition:
    number, data = document
    time_ms = 0
    try:
        stamp = bson.decode(data).get("ts")
    except (BSONError, ValueError, OverflowError):
        stamp = None
    if isinstance(stamp, datetime):
        moment = stamp.replace(tzinfo=UTC)
        time_ms = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return ProfilePosition(number=number, hash=hashlib.sha256(data).hexdigest()[:16], time_ms=time_ms)


def _gap(place: str, database: str, position: ProfilePosition, reason: str, lost: int | None) -> AuditEvent:
    return gap(
        key=f"gap:profile:{place}:{database}:{position.number}:{position.hash}",
        time_us=now_us(),
        reason=reason,
        source=f"{database}.{COLLECTION} of {place}",
        lost_records=lost,
    )
