"""Lists that come in pages, as one list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from dbaudit.sdk.request import Request
from dbaudit.sdk.transport import AsyncTransport, Transport

Item = TypeVar("Item")


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page: its items, how many items all pages have (None where the API does not count them), and the
    request for the next page (None: this is the last).
    """

    items: tuple[Item, ...]
    total: int | None
    following: Request[Page[Item]] | None


class Pages(Generic[Item]):
    """Iterates over the items of all pages; each page is fetched when it is reached.

    Every new iteration sends the requests again.
    """

    def __init__(self, transport: Transport, first: Request[Page[Item]]) -> None:
        self._transport = transport
        self._first = first

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[Item]]:
        """The pages themselves."""
        request: Request[Page[Item]] | None = self._first
        while request is not None:
            page = self._transport.send(request)
            yield page
            request = page.following


class AsyncPages(Generic[Item]):
    """Iterates with ``async for`` over the items of all pages; each page is fetched when it is reached.

    Every new iteration sends the requests again.
    """

    def __init__(self, transport: AsyncTransport, first: Request[Page[Item]]) -> None:
        self._transport = transport
        self._first = first

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[Item]]:
        """The pages themselves."""
        request: Request[Page[Item]] | None = self._first
        while request is not None:
            page = await self._transport.send(request)
            yield page
            request = page.following
