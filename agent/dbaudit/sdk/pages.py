"""Lists that come in pages, as one list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import msgspec

Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """One page: its items, the query of the next page (None: this is the last), and how many items all pages
    have (None where the API does not count them).
    """

    items: list[Item]
    next_query: dict[str, str | int] | None
    total: int | None = None


class Pages(Generic[Item]):
    """Iterates over the items of all pages; each page is fetched when it is reached.

    Every new iteration asks the API anew.
    """

    def __init__(
        self, fetch: Callable[[dict[str, str | int]], Page[Item]], first_query: dict[str, str | int]
    ) -> None:
        self._fetch = fetch
        self._first_query = first_query

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[Item]]:
        """The pages themselves."""
        query: dict[str, str | int] | None = self._first_query
        while query is not None:
            page = self._fetch(query)
            yield page
            query = page.next_query
