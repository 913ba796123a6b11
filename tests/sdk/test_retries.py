"""What the SDK does when the API, or something before it, answers badly, late or not at all."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dbaudit
import pytest
from dbaudit import sdk
from dbaudit.core.errors import ErrorCode
from dbaudit.sdk.request import Repeat
from dbaudit.sdk.retry import back_off_seconds, retry_delay_seconds
from dbaudit.sdk.transport import AsyncTransport, Transport

from tests.patience import PATIENCE_SECONDS

EMPTY_PAGE = {"data": [], "pagination": {"total": 0, "page": 1, "per_page": 100}}
Answer = tuple[int, dict[str, str], bytes] | None


def error(status: int, code: str, **headers: str) -> Answer:
    body = {"error": {"code": code, "message": "No.", "request_id": "r1", "details": []}}
    return (
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        json.dumps(body).encode(),
    )


def good(body: Any) -> Answer:
    return 200, {}, json.dumps(body).encode()


class Asked(list[str]):
    """The methods of the requests; ``keys`` are their idempotency keys."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str | None] = []


@contextmanager
def answering(*answers: Answer) -> Iterator[tuple[str, Asked]]:
    """A server that gives these answers one after the other (None: it hangs up), and what it was asked."""
    asked = Asked()
    waiting = iter(answers)

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            asked.append(self.command)
            asked.keys.append(self.headers.get("Idempotency-Key"))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = next(waiting)
            self.close_connection = True
            if answer is None:
                return
            status, headers, body = answer
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that a client makes, which take no time."""
    pauses: list[float] = []
    begin = Transport.__init__

    def with_quick_sleep(self: Transport, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **{**options, "sleep": pauses.append})

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    begin_async = AsyncTransport.__init__

    def with_quick_pause(self: AsyncTransport, *arguments: Any, **options: Any) -> None:
        begin_async(self, *arguments, **{**options, "sleep": pause})

    monkeypatch.setattr(Transport, "__init__", with_quick_sleep)
    monkeypatch.setattr(AsyncTransport, "__init__", with_quick_pause)
    return pauses


def ask(way: str, url: str, **options: Any) -> object:
    """What one request through ``Client`` or ``AsyncClient`` gives."""
    if way == "threads":
        with dbaudit.Client(api_url=url, api_key="x", **options) as client:
            return client.databases.get("db_1")

    async def get() -> object:
        async with dbaudit.AsyncClient(api_url=url, api_key="x", **options) as client:
            return await client.databases.get("db_1")

    return asyncio.run(get())


WAYS = pytest.mark.parametrize("way", ["threads", "asyncio"])


@pytest.mark.parametrize(
    "bad",
    [
        error(503, "state_unavailable"),
        error(503, "shutting_down"),
        error(429, "rate_limit_exceeded"),
        (502, {}, b"<html>Bad gateway</html>"),
        None,
    ],
)
def test_reading_is_tried_again(bad: Answer, slept: list[float]) -> None:
    with answering(bad, bad, good(EMPTY_PAGE)) as (url, asked):
        assert list(dbaudit.Client(api_url=url, api_key="x").databases.list()) == []
    assert asked == ["GET"] * 3
    assert len(slept) == 2


@WAYS
def test_it_gives_up_after_max_retries_with_the_last_error(way: str, slept: list[float]) -> None:
    with (
        answering(*itertools.repeat(error(503, "state_unavailable"), 5)) as (url, asked),
        pytest.raises(sdk.UnavailableError) as failed,
    ):
        ask(way, url, max_retries=3)
    assert failed.value.code is ErrorCode.STATE_UNAVAILABLE
    assert failed.value.request_id == "r1"
    assert asked == ["GET"] * 4
    assert slept == sorted(slept)


def test_what_the_api_asks_to_wait_is_waited(slept: list[float]) -> None:
    with answering(error(429, "rate_limit_exceeded", Retry_After="7"), good(EMPTY_PAGE)) as (url, _asked):
        list(dbaudit.Client(api_url=url, api_key="x").databases.list())
    assert slept == [7.0]


@WAYS
def test_nobody_waits_longer_than_a_minute(way: str, slept: list[float]) -> None:
    with (
        answering(error(429, "rate_limit_exceeded", Retry_After="3600")) as (url, _asked),
        pytest.raises(sdk.RateLimitExceededError) as failed,
    ):
        ask(way, url)
    assert failed.value.retry_after_seconds == 3600
    assert slept == []


AWAY = pytest.mark.parametrize("bad", [error(503, "state_unavailable"), None], ids=["503", "hang-up"])
NEW: dict[str, Any] = {
    "name": "n",
    "type": "postgresql",
    "host": "h",
    "port": 1,
    "database": "d",
    "username": "u",
    "password": "p",
}
MADE = {
    **{field: value for field, value in NEW.items() if field != "password"},
    "id": "db_1",
    "ssl_mode": "require",
    "status": "pending",
    "audit_status": "initializing",
    "created_at": "2026-01-01T00:00:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
ONCE: list[Callable[[dbaudit.Client], object]] = [
    lambda client: client.databases.test("db_1"),
    lambda client: client.databases.update("db_1", name="n", if_match='"1"'),
]


@pytest.mark.parametrize("change", ONCE, ids=["test", "update of a known version"])
@AWAY
def test_what_must_not_happen_twice_is_not_repeated(
    change: Callable[[dbaudit.Client], object], bad: Answer, slept: list[float]
) -> None:
    with answering(bad) as (url, asked), pytest.raises(sdk.ApiError):
        change(dbaudit.Client(api_url=url, api_key="x"))
    assert len(asked) == 1
    assert slept == []


@AWAY
def test_adding_is_repeated_under_one_key(bad: Answer, slept: list[float]) -> None:
    with answering(bad, bad, (201, {}, json.dumps(MADE).encode())) as (url, asked):
        assert dbaudit.Client(api_url=url, api_key="x").databases.create(**NEW).id == "db_1"
    assert asked == ["POST"] * 3
    (key,) = set(asked.keys)
    assert key


def test_every_call_has_another_key_unless_the_caller_gives_one(slept: list[float]) -> None:
    made = (201, {}, json.dumps(MADE).encode())
    with answering(made, made, made) as (url, asked):
        client = dbaudit.Client(api_url=url, api_key="x")
        client.databases.create(**NEW)
        client.databases.create(**NEW)
        client.databases.create(**NEW, idempotency_key="mine")
    assert len(set(asked.keys)) == 3
    assert asked.keys[2] == "mine"


@AWAY
def test_a_removal_that_may_have_happened_is_repeated_and_then_absence_is_success(
    bad: Answer, slept: list[float]
) -> None:
    with answering(bad, error(404, "not_found")) as (url, asked):
        dbaudit.Client(api_url=url, api_key="x").databases.delete("db_1")
    assert asked == ["DELETE", "DELETE"]


def test_removing_what_was_never_there_is_an_error(slept: list[float]) -> None:
    with (
        answering(error(429, "rate_limit_exceeded"), error(404, "not_found")) as (url, _asked),
        pytest.raises(sdk.NotFoundError),
    ):
        dbaudit.Client(api_url=url, api_key="x").databases.delete("db_1")


@pytest.mark.parametrize(("value", "least"), [("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", 0.375)])
def test_a_date_to_wait_for_is_understood(value: str, least: float, slept: list[float]) -> None:
    with answering(error(503, "state_unavailable", Retry_After=value), good(EMPTY_PAGE)) as (url, _asked):
        list(dbaudit.Client(api_url=url, api_key="x").databases.list())
    assert least <= slept[0] <= 0.5


def test_a_change_that_was_refused_for_the_rate_is_tried_again(slept: list[float]) -> None:
    with answering(error(429, "rate_limit_exceeded"), (204, {}, b"")) as (url, asked):
        dbaudit.Client(api_url=url, api_key="x").databases.delete("db_1")
    assert asked == ["DELETE", "DELETE"]


@WAYS
def test_an_answer_that_never_comes_is_given_up_in_time(way: str, slept: list[float]) -> None:
    released = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            released.wait(PATIENCE_SECONDS)

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(sdk.UnreachableError) as failed:
                ask(way, url, timeout_seconds=0.2, max_retries=0)
        finally:
            released.set()
            server.shutdown()
            thread.join()
    assert failed.value.code is ErrorCode.API_UNREACHABLE
    assert url in failed.value.message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, {}, b"<html>Welcome</html>"), sdk.ServerError),
        ((200, {}, b'{"data": "x"}'), sdk.ServerError),
        ((301, {"Location": "http://127.0.0.1:1/"}, b""), sdk.InvalidRequestError),
        ((404, {}, b"<html>Not found</html>"), sdk.NotFoundError),
        ((422, {}, b"nothing"), sdk.InvalidRequestError),
        ((422, {}, b'{"error": {"code": "connection_test_failed"}}'), sdk.ConnectionTestFailedError),
        ((500, {}, b""), sdk.ServerError),
        (
            (418, {}, b'{"error": {"code": "a_code_of_the_future", "message": "Tea."}}'),
            sdk.InvalidRequestError,
        ),
    ],
)
def test_an_answer_of_something_else_is_an_error_and_no_crash(
    answer: Answer, kind: type[sdk.ApiError], slept: list[float]
) -> None:
    with answering(answer) as (url, _asked), pytest.raises(kind):
        dbaudit.Client(api_url=url, api_key="x", max_retries=0).databases.get("db_1")


def test_fields_that_this_version_does_not_know_are_ignored() -> None:
    page = {"data": [], "pagination": {"total": 0, "page": 1, "per_page": 100, "moon": 1}, "sun": {}}
    with answering(good(page)) as (url, _asked):
        assert list(dbaudit.Client(api_url=url, api_key="x").databases.list()) == []


def unreachable(**options: Any) -> sdk.UnreachableError:
    return sdk.UnreachableError(ErrorCode.API_UNREACHABLE, "away", **options)


def unavailable(code: ErrorCode, **options: Any) -> sdk.UnavailableError:
    return sdk.UnavailableError(code, "away", **options)


@pytest.mark.parametrize(
    ("repeat", "failure", "was_sent", "again"),
    [
        (Repeat.FREELY, unreachable(), True, True),
        (Repeat.BY_KEY, unreachable(), True, True),
        (Repeat.UNTIL_GONE, unreachable(), True, True),
        (Repeat.NEVER, unreachable(), True, False),
        (Repeat.NEVER, unreachable(), False, True),
        (Repeat.FREELY, unavailable(ErrorCode.STATE_UNAVAILABLE), True, True),
        (Repeat.NEVER, unavailable(ErrorCode.STATE_UNAVAILABLE), True, False),
        (Repeat.FREELY, unavailable(ErrorCode.NO_AGENT_AVAILABLE), True, False),
        (Repeat.NEVER, sdk.RateLimitedError(ErrorCode.RATE_LIMIT_EXCEEDED, "slow"), True, True),
        (Repeat.FREELY, sdk.ServerError(ErrorCode.INTERNAL_ERROR, "fault"), True, False),
        (Repeat.FREELY, sdk.NotFoundError(ErrorCode.NOT_FOUND, "none"), True, False),
        (Repeat.FREELY, sdk.UnauthorizedError(ErrorCode.UNAUTHORIZED, "who"), True, False),
    ],
)
def test_only_what_is_safe_and_promising_is_tried_again(
    repeat: Repeat, failure: sdk.ApiError, was_sent: bool, again: bool
) -> None:
    assert (retry_delay_seconds(repeat, 1, failure, was_sent=was_sent) is not None) is again


def test_delays_grow_up_to_a_bound() -> None:
    for attempt, longest in enumerate([0.5, 1, 2, 4, 8, 8, 8], start=1):
        assert 0.75 * longest <= back_off_seconds(attempt) <= longest
    assert back_off_seconds(10_000) <= 8


@WAYS
def test_a_follower_that_is_answered_at_once_in_vain_pauses_longer_each_time(
    way: str, slept: list[float]
) -> None:
    nothing = good({"data": [], "pagination": {"next_cursor": "c", "has_more": False}})
    full = error(503, "too_many_waiting", Retry_After="5")
    end = error(403, "forbidden")
    with (
        answering(nothing, nothing, nothing, full, nothing, end) as (url, asked),
        pytest.raises(sdk.ForbiddenError),
    ):
        follow(way, url)
    assert len(asked) == 6
    assert 0.3 < slept[0] <= 0.5 < slept[1] <= 1.0 < slept[2] <= 2.0
    assert slept[3] == 5.0
    assert 2.0 < slept[4] <= 4.0


def follow(way: str, url: str) -> None:
    if way == "threads":
        with dbaudit.Client(api_url=url, api_key="x") as client:
            next(iter(client.events.follow(cursor="c")))
        return

    async def first() -> None:
        async with dbaudit.AsyncClient(api_url=url, api_key="x") as client:
            await anext(aiter(await client.events.follow(cursor="c")))

    asyncio.run(first())
