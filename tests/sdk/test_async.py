"""``AsyncClient`` against the real API: what is its own beside the requests that both clients share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import dbaudit
import pytest
from dbaudit import sdk

from tests.sdk.conftest import DATABASE, Api

Create = Callable[..., sdk.Database]


def test_databases_are_added_listed_over_all_pages_and_removed(api: Api) -> None:
    async def work() -> None:
        async with dbaudit.AsyncClient(api_url=api.url, api_key=api.key) as client:
            made = [
                (await client.databases.create(**{**DATABASE, "host": f"db{number}.example.com"})).id
                for number in range(102)
            ]
            assert [database.id async for database in client.databases.list()] == made
            totals = [page.total async for page in client.databases.list().pages()]
            assert totals == [102, 102]
            assert (await client.databases.get_status(made[0])).collector.events_per_second == 0
            await client.databases.delete(made[0])
            with pytest.raises(sdk.NotFoundError):
                await client.databases.get(made[0])

    asyncio.run(work())


def test_many_requests_are_under_way_at_once(api: Api, create: Create) -> None:
    made = [create() for number in range(5)]

    async def work() -> list[str]:
        async with dbaudit.AsyncClient(api_url=api.url, api_key=api.key) as client:
            found = await asyncio.gather(*(client.databases.get(database.id) for database in made))
            return [database.id for database in found]

    assert asyncio.run(work()) == [database.id for database in made]


def test_following_begins_at_the_call_and_can_be_resumed(api: Api, create: Create) -> None:
    database = create()
    api.store(database.id, "select before")

    async def take(stream: sdk.AsyncEventStream[sdk.Event], count: int) -> list[str | None]:
        found: list[str | None] = []
        async for event in stream:
            found.append(event.query)
            if len(found) == count:
                break
        return found

    async def work() -> None:
        async with dbaudit.AsyncClient(api_url=api.url, api_key=api.key) as client:
            stream = await client.events.follow(database_id=database.id)
            later = threading.Thread(target=api.store, args=(database.id, "select one", "select two"))
            later.start()
            assert await take(stream, 1) == ["select one"]
            assert await take(stream, 1) == ["select two"]
            later.join()
            again = await client.events.follow(database_id=database.id, cursor=stream.cursor)
            assert (await take(again, 1))[0] in ("select one", "select two")
            everything = await client.events.follow(database_id=database.id, cursor=None)
            assert await take(everything, 3) == ["select before", "select one", "select two"]

    asyncio.run(work())


def test_no_secret_is_in_what_a_client_shows(api: Api) -> None:
    client = dbaudit.AsyncClient(api_url=api.url, api_key=api.key)
    assert repr(client) == f"AsyncClient(api_url={api.url!r})"
    assert api.key not in repr(vars(client)) + repr(vars(client.databases)) + repr(vars(client._transport))
    asyncio.run(client.aclose())
