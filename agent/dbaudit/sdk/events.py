"""Audit events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from dbaudit.sdk.errors import RateLimitedError, UnavailableError, UnreachableError
from dbaudit.sdk.pages import Page, Pages
from dbaudit.sdk.retry import back_off_seconds
from dbaudit.sdk.transport import Transport

_PAGE_SIZE = 1000
_WAIT_SECONDS = 25
_END = "end"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One audit event; None where the source does not tell."""

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
    objects: list[str] | None = None
    parameters: list[str | None] | None = None
    detail: dict[str, Any] | None = None


class _Pagination(msgspec.Struct, frozen=True):
    next_cursor: str | None
    has_more: bool


class _Listing(msgspec.Struct, frozen=True):
    data: list[Event]
    pagination: _Pagination


class EventStream:
    """Iterates over events as they are stored, and waits for the next ones, for ever.

    It outlives restarts of the API: it waits, and goes on behind the last event. ``cursor`` is where it
    stands; a new stream that begins there misses nothing, and gives at most one page again.
    """

    def __init__(
        self,
        fetch: Callable[[str | None], _Listing],
        cursor: str | None,
        sleep: Callable[[float], None],
        on_outage: Callable[[Exception], None],
    ) -> None:
        self._fetch = fetch
        self.cursor = cursor
        self._sleep = sleep
        self._on_outage = on_outage
        self._fetched: Iterator[Event] = iter(())
        self._following = cursor

    def __iter__(self) -> Iterator[Event]:
        failures = 0
        while True:
            yield from self._fetched
            self.cursor = self._following
            try:
                found = self._fetch(self.cursor)
            except (UnreachableError, UnavailableError, RateLimitedError) as error:
                failures += 1
                if failures == 1:
                    self._on_outage(error)
                self._sleep(error.retry_after_seconds or back_off_seconds(failures))
                continue
            failures = 0
            self._fetched = iter(found.data)
            self._following = found.pagination.next_cursor


class Events:
    """``client.events``. Every method raises ``dbaudit.sdk.ApiError``."""

    def __init__(self, transport: Transport, sleep: Callable[[float], None] = time.sleep) -> None:
        self._transport = transport
        self._sleep = sleep

    def list(
        self,
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
    ) -> Pages[Event]:
        """The events that match every filter given; ``type`` means any of several. A time without a zone is
        UTC. Take as many as you want from the iteration: a page has ``page_size`` (1 to 1000) of them.
        """
        filters = _filters(database_id, type, user, start_date, end_date, severity, query_contains)

        def fetch(query: dict[str, str | int]) -> Page[Event]:
            found = self._list({**filters, "order": order, **query})
            cursor = found.pagination.next_cursor if found.pagination.has_more else None
            return Page(found.data, None if cursor is None else {"cursor": cursor, "limit": page_size})

        return Pages(fetch, {"limit": page_size})

    def get(self, event_id: str) -> Event:
        """One event."""
        return self._transport.request("GET", f"/v1/events/{quote(event_id, safe='')}", Event)

    def follow(
        self,
        *,
        cursor: str | None = _END,
        database_id: str | None = None,
        type: str | Sequence[str] | None = None,  # noqa: A002  # the API's word
        user: str | None = None,
        start_date: datetime | None = None,
        severity: str | None = None,
        query_contains: str | None = None,
        on_outage: Callable[[Exception], None] = lambda error: None,
    ) -> EventStream:
        """The events in the order in which they are stored, and then those to come, each once.

        Begins with what is stored from this call on; behind ``cursor``, that of an earlier stream, where one
        is given; or at the very beginning with None. ``on_outage`` is told when the API is away; the stream
        goes on when it is back.
        """
        filters = _filters(database_id, type, user, start_date, None, severity, query_contains)

        def fetch(at: str | None) -> _Listing:
            return self._list(
                {
                    **filters,
                    "order": "stored",
                    "cursor": at,
                    "limit": _PAGE_SIZE,
                    "wait_seconds": _WAIT_SECONDS,
                },
                max_retries=0,
            )

        if cursor == _END:
            # The end is fixed now: what is stored before the iteration begins is not missed.
            now = self._list({**filters, "order": "stored", "cursor": _END, "limit": 1})
            cursor = now.pagination.next_cursor
        return EventStream(fetch, cursor, self._sleep, on_outage)

    def _list(self, query: Mapping[str, Any], max_retries: int | None = None) -> _Listing:
        return self._transport.request("GET", "/v1/events", _Listing, query=query, max_retries=max_retries)


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
