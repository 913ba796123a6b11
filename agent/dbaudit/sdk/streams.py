"""Streams of the events that are stored, and of those that will be stored."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Concatenate, Generic, ParamSpec

from dbaudit.sdk.errors import ApiError, RateLimitedError, UnavailableError, UnreachableError
from dbaudit.sdk.methods import AsyncResource, Resource, described
from dbaudit.sdk.pages import Item
from dbaudit.sdk.request import Request
from dbaudit.sdk.retry import back_off_seconds
from dbaudit.sdk.transport import AsyncTransport, Transport

P = ParamSpec("P")
_OUTAGES = (UnreachableError, UnavailableError, RateLimitedError)
_EARLY_SECONDS = 1.0
"""An empty answer that comes sooner has not waited for events, although it was asked to."""


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """The items of one answer, and where the next one begins."""

    items: tuple[Item, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Following(Generic[Item]):
    """How to follow a stream: ``after`` makes the request for what comes after a cursor. ``end``, if given,
    is the request for the cursor of the end, where the stream then begins; otherwise it begins at ``cursor``.
    """

    after: Callable[[str | None], Request[Batch[Item]]]
    end: Request[Batch[Item]] | None
    cursor: str | None
    on_outage: Callable[[Exception], None]


class _Position(Generic[Item]):
    """The position of a stream: ``cursor`` is after the last batch of which every item was taken."""

    def __init__(self, plan: Following[Item], cursor: str | None) -> None:
        self.cursor = cursor
        self._plan = plan
        self._next_cursor = cursor
        self._fetched: Iterator[Item] = iter(())
        self._failures = 0
        self._early = 0
        self._asked_at = 0.0

    def _request(self) -> Request[Batch[Item]]:
        self.cursor = self._next_cursor
        self._asked_at = time.monotonic()
        return self._plan.after(self.cursor)

    def _take(self, batch: Batch[Item]) -> float:
        """How many seconds to wait before the next request: it must not be asked again and again in vain."""
        self._failures = 0
        self._fetched = iter(batch.items)
        self._next_cursor = batch.next_cursor
        if batch.items or time.monotonic() - self._asked_at >= _EARLY_SECONDS:
            self._early = 0
            return 0.0
        self._early += 1
        return back_off_seconds(self._early)

    def _pause_after(self, error: ApiError) -> float:
        self._failures += 1
        if self._failures == 1:
            self._plan.on_outage(error)
        return error.retry_after_seconds or back_off_seconds(self._failures)


class EventStream(_Position[Item]):
    """Iterates over events as they are stored. It never ends: it waits for the next ones.

    While the API is away it waits, and then resumes after the last event. ``cursor`` is its position: a new
    stream that begins there misses nothing, and repeats at most one page.
    """

    def __init__(self, transport: Transport, plan: Following[Item]) -> None:
        super().__init__(plan, plan.cursor if plan.end is None else transport.send(plan.end).next_cursor)
        self._transport = transport

    def __iter__(self) -> Iterator[Item]:
        while True:
            yield from self._fetched
            try:
                pause = self._take(self._transport.send(self._request()))
            except _OUTAGES as error:
                pause = self._pause_after(error)
            if pause:
                self._transport.sleep(pause)


class AsyncEventStream(_Position[Item]):
    """Iterates with ``async for`` over events as they are stored. It never ends: it waits for the next ones.

    While the API is away it waits, and then resumes after the last event. ``cursor`` is its position: a new
    stream that begins there misses nothing, and repeats at most one page.
    """

    def __init__(self, transport: AsyncTransport, plan: Following[Item], cursor: str | None) -> None:
        super().__init__(plan, cursor)
        self._transport = transport

    async def __aiter__(self) -> AsyncIterator[Item]:
        while True:
            for item in self._fetched:
                yield item
            try:
                pause = self._take(await self._transport.send(self._request()))
            except _OUTAGES as error:
                pause = self._pause_after(error)
            if pause:
                await self._transport.sleep(pause)


def following(
    describe: Callable[P, Following[Item]],
) -> Callable[Concatenate[Resource, P], EventStream[Item]]:
    """The method that gives the stream."""

    def method(self: Resource, /, *args: P.args, **kwargs: P.kwargs) -> EventStream[Item]:
        return EventStream(self._transport, describe(*args, **kwargs))

    return described(method, describe)


def async_following(
    describe: Callable[P, Following[Item]],
) -> Callable[Concatenate[AsyncResource, P], Awaitable[AsyncEventStream[Item]]]:
    """The method that gives the stream, to be awaited."""

    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncEventStream[Item]:
        plan = describe(*args, **kwargs)
        cursor = plan.cursor if plan.end is None else (await self._transport.send(plan.end)).next_cursor
        return AsyncEventStream(self._transport, plan, cursor)

    return described(method, describe)
