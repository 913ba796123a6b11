"""Audit events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from dbaudit.core import typed
from dbaudit.sdk.frozen import freeze
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, async_listing, call, listing
from dbaudit.sdk.pages import Page
from dbaudit.sdk.request import Reply, Request, segment, understood_as
from dbaudit.sdk.streams import Batch, Following, async_following, following

_PATH = "/v1/events"
_PAGE_SIZE = 1000
_WAIT_SECONDS = 25
_END = "end"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One audit event; a field is None if the source does not say it."""

    id: str
    type: str
    timestamp: datetime
    database_id: str
    database_name: str
    severity: str
    outcome: str | None = None
    error_code: str | None = None
    user: str | None = None
    database: str | None = None
    application: str | None = None
    session_id: str | None = None
    source_ip: str | None = None
    source_port: int | None = None
    source_host: str | None = None
    operation: str | None = None
    command_class: str | None = None
    query: str | None = None
    query_hash: str | None = None
    duration_ms: float | None = None
    rows_affected: int | None = None
    objects: tuple[str, ...] | None = None
    parameters: tuple[str | None, ...] | None = None
    detail: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.detail is not None:
            freeze(self, "detail")


class _Pagination(msgspec.Struct, frozen=True):
    next_cursor: str | None
    has_more: bool


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[Event, ...]
    pagination: _Pagination


def list_events(
    *,
    database_id: str | None = None,
    type: str | Sequence[str] | None = None,  # noqa: A002  # the API's word
    user: str | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    severity: str | None = None,
    query_contains: str | None = None,
    order: Literal["newest", "oldest", "stored"] = "newest",
    page_size: int = _PAGE_SIZE,
) -> Request[Page[Event]]:
    """The events that match every filter given; ``type`` means any of several. A time without a zone is UTC.
    Take as many as you want from the iteration: a page has ``page_size`` (1 to 1000) of them.
    """
    filters = _filters(database_id, type, user, start_date, end_date, severity, query_contains)
    return _page({**filters, "order": order, "limit": page_size}, None)


def _page(filters: Mapping[str, Any], cursor: str | None) -> Request[Page[Event]]:
    def understand(reply: Reply) -> Page[Event]:
        found = typed.decode(reply.content, _Listing)
        more = found.pagination.has_more and found.pagination.next_cursor is not None
        return Page(found.data, None, _page(filters, found.pagination.next_cursor) if more else None)

    return Request(method="GET", path=_PATH, query={**filters, "cursor": cursor}, understand=understand)


def get_event(event_id: str) -> Request[Event]:
    """One event."""
    return Request(method="GET", path=f"{_PATH}/{segment(event_id)}", understand=understood_as(Event))


def follow_events(
    *,
    cursor: str | None = _END,
    database_id: str | None = None,
    type: str | Sequence[str] | None = None,  # noqa: A002  # the API's word
    user: str | None = None,
    start_date: datetime | None = None,
    severity: str | None = None,
    query_contains: str | None = None,
    on_outage: Callable[[Exception], None] = lambda error: None,
) -> Following[Event]:
    """The events in the order in which they are stored, and then those to come, each once.

    Begins with what is stored from this call on; or after ``cursor``, that of an earlier stream, if it is
    given; or with the first stored event if ``cursor`` is None. ``on_outage`` is called with the error when
    the API cannot be reached; the stream resumes when it is back.
    """
    filters = _filters(database_id, type, user, start_date, None, severity, query_contains)

    def after(at: str | None) -> Request[Batch[Event]]:
        query = {**filters, "order": "stored", "cursor": at, "limit": _PAGE_SIZE}
        return Request(
            method="GET",
            path=_PATH,
            query={**query, "wait_seconds": _WAIT_SECONDS},
            understand=_batch,
            max_retries=0,
        )

    # The end is fixed by a request of its own, now: what is stored before the iteration begins is not missed.
    query = {**filters, "order": "stored", "cursor": _END, "limit": 1}
    end = Request(method="GET", path=_PATH, query=query, understand=_batch) if cursor == _END else None
    return Following(after, end, cursor, on_outage)


def _batch(reply: Reply) -> Batch[Event]:
    found = typed.decode(reply.content, _Listing)
    return Batch(found.data, found.pagination.next_cursor)


def _filters(
    database_id: str | None,
    types: str | Sequence[str] | None,
    user: str | None,
    start_date: datetime | None,
    end_date: datetime | None,
    severity: str | None,
    query_contains: str | None,
) -> dict[str, str | None]:
    return {
        "database_id": database_id,
        "type": types if types is None or isinstance(types, str) else ",".join(types),
        "user": user,
        "start_date": _time(start_date),
        "end_date": _time(end_date),
        "severity": severity,
        "query_contains": query_contains,
    }


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


class Events(Resource):
    """``client.events``. Every method raises ``dbaudit.sdk.ApiError``."""

    list = listing(list_events)
    get = call(get_event)
    follow = following(follow_events)


class AsyncEvents(AsyncResource):
    """``client.events`` of an AsyncClient. Every method raises ``dbaudit.sdk.ApiError``."""

    list = async_listing(list_events)
    get = async_call(get_event)
    follow = async_following(follow_events)
