"""`/v1/events`: what happened on the monitored databases."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response

from dbaudit.api.acting import acting
from dbaudit.api.answers import json_answer
from dbaudit.api.gate import Call, Gate
from dbaudit.api.parameters import Query
from dbaudit.api.validation import invalid
from dbaudit.api.visit import this_visit
from dbaudit.api.waiting import WaitingRoom
from dbaudit.core import typed
from dbaudit.core.clock import format_us, to_us
from dbaudit.core.errors import FieldError
from dbaudit.state import State
from dbaudit.state.events import EventOrder, EventQuery, StoredEvent
from dbaudit.state.own_events import Action, Deed, is_record_of_reading
from dbaudit.state.wakeup import Topic

_END = "end"
_FILTERS = ("database_id", "type", "user", "severity", "start_date", "end_date", "query_contains")


def events_blueprint(gate: Gate, state: State, room: WaitingRoom) -> Blueprint:
    """The operations on events."""
    blueprint = Blueprint("events", __name__)
    resource = _Events(state, room)
    gate.bind(blueprint, {"list_events": resource.list, "get_event": resource.get})
    return blueprint


class _Events:
    def __init__(self, state: State, room: WaitingRoom) -> None:
        self._state = state
        self._room = room

    def list(self, call: Call) -> Response:
        wanted = self._wanted(call)
        if call.query.get("cursor") == _END:
            wanted = msgspec.structs.replace(wanted, after=self._end(call))
        seen = self._room.seen(Topic.EVENTS)
        waits = call.query["wait_seconds"]
        last = self._state.events.last_number() if waits else 0
        page = self._state.events.query(wanted)
        if waits and not page.events:
            self._room.wait(
                this_visit(),
                Topic.EVENTS,
                seen,
                waits,
                group=msgspec.structs.replace(wanted, after=None),
                position=last,
                look=lambda position: self._look(wanted, position),
            )
        # A follower reads the records of all readings: recorded too, they would never end.
        if "cursor" not in call.query or not all(is_record_of_reading(one.event) for one in page.events):
            self._record(len(page.events), _asked(call.query))
        goes_on = page.more or wanted.order is EventOrder.STORED
        return json_answer(
            {
                "data": [event_object(event) for event in page.events],
                "pagination": {
                    "next_cursor": _cursor(wanted.order, page.end or (0, 0)) if goes_on else None,
                    "has_more": page.more,
                },
            }
        )

    def _end(self, call: Call) -> tuple[int, int]:
        """The end as it was when the request came: what was stored meanwhile is what it waits for."""
        found: dict[str, Any] = this_visit().found
        if _END not in found:
            # First: a follower does not begin with the record of its beginning.
            self._record(0, _asked(call.query))
            found[_END] = (0, self._state.events.last_number())
        end: tuple[int, int] = found[_END]
        return end

    def get(self, call: Call) -> Response:
        found = self._state.events.get(call.path["event_id"], call.bound_to)
        self._record(1, {}, (found.id,))
        return json_answer(event_object(found))

    def _record(self, rows: int, asked: Mapping[str, Any], events: tuple[str, ...] | None = None) -> None:
        """Store that events were read. The answer leaves afterwards."""
        deed = Deed(action=Action.READ, objects=events, rows=rows, detail=asked)
        self._state.own_events.store(acting(), deed)

    def _look(self, wanted: EventQuery, after: int) -> tuple[bool, int]:
        """Whether there is an event after the number ``after``, and the last number from before looking."""
        last = self._state.events.last_number()
        if last <= after:
            return False, last
        page = self._state.events.query(msgspec.structs.replace(wanted, after=(0, after), limit=1))
        return bool(page.events), last

    def _wanted(self, call: Call) -> EventQuery:
        query = call.query
        order = EventOrder(query["order"])
        start, end = query.get("start_date"), query.get("end_date")
        details = []
        if start is not None and end is not None and start > end:
            details.append(FieldError("start_date", "must not be after end_date"))
        if query["wait_seconds"] and order is not EventOrder.STORED:
            details.append(FieldError("wait_seconds", "needs order=stored"))
        after = None
        if "cursor" in query and not (query["cursor"] == _END and order is EventOrder.STORED):
            after = _position(query["cursor"], order)
            if after is None:
                remedy = "give the next_cursor of an answer with the same order, or none to start over"
                details.append(FieldError("cursor", f"is not a cursor of this order; {remedy}"))
        if details:
            raise invalid(details)
        return EventQuery(
            bound_to=call.bound_to,
            database_id=query.get("database_id"),
            types=query.get("type", ()),
            user=query.get("user"),
            severity=query.get("severity"),
            start_us=None if start is None else to_us(start),
            end_us=None if end is None else to_us(end),
            query_contains=query.get("query_contains"),
            order=order,
            after=after,
            limit=query["limit"],
        )


def _asked(query: Query) -> dict[str, Any]:
    return {
        "filter": {name: query[name] for name in _FILTERS if name in query},
        "order": query["order"],
        "limit": query["limit"],
        "cursor": "cursor" in query,
    }


def event_object(stored: StoredEvent) -> dict[str, Any]:
    """An event as the API shows it."""
    event = stored.event
    return {
        "id": stored.id,
        "type": event.type,
        "timestamp": format_us(event.time_us),
        "database_id": stored.database_id,
        "database_name": stored.database_name,
        "severity": event.severity,
        "outcome": event.outcome,
        "error_code": event.error_code,
        "user": event.user,
        "database": event.database,
        "application": event.application,
        "session_id": event.session_id,
        "source_ip": event.source_ip,
        "source_port": event.source_port,
        "source_host": event.source_host,
        "operation": event.operation,
        "command_class": event.command_class,
        "query": event.query,
        "query_hash": event.query_hash,
        "duration_ms": event.duration_ms,
        "rows_affected": event.rows_affected,
        "objects": event.objects,
        "parameters": event.parameters,
        "detail": event.detail,
    }


def _cursor(order: EventOrder, position: tuple[int, int]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([order, *position])).decode().rstrip("=")


def _position(cursor: str, order: EventOrder) -> tuple[int, int] | None:
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True)
        name, time_us, number = typed.decode(raw, tuple[str, int, int])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
    limit = 2**63
    sound = name == order and -limit <= time_us < limit and 0 <= number < limit
    return (time_us, number) if sound else None
