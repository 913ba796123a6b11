"""Streams of the events that are stored, and of those that will be stored."""

from __future__ import annotations

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

    def _request(self) -> Request[Batch[Item]]:
        self.cursor = self._next_cursor
        return self._plan.after(self.cursor)

    def _take(self, batch: Batch[Item]) -> None:
        self._failures = 0
        self._fetched = iter(batch.items)
        self._next_cursor = batch.next_cursor

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
                self._take(self._transport.send(self._request()))
            except _OUTAGES as error:
                self._transport.sleep(self._pause_after(error))


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
                self._take(await self._transport.send(self._request()))
            except _OUTAGES as error:
                await self._transport.sleep(self._pause_after(error))


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
