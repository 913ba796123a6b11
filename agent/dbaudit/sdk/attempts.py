"""From a request to its answer: attempts, pauses and errors, without sending anything itself.

``attempts`` is a generator that a transport runs: it yields what to send or how long to wait, and receives
the answer. So waiting and repeating is written once for threads and for asyncio.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import msgspec

from dbaudit.core.errors import ErrorCode
from dbaudit.sdk.errors import ApiError, NotFoundError, UnreachableError, error_class, error_of
from dbaudit.sdk.request import Answer, Repeat, Reply, Request
from dbaudit.sdk.retry import retry_delay_seconds


@dataclass(frozen=True, repr=False)
class Sending:
    """One attempt; ``headers`` are those of the request and of the attempt, without the API key."""

    request: Request[Any]
    content: bytes | None
    headers: dict[str, str]


@dataclass(frozen=True)
class Pause:
    """A wait before the next attempt."""

    seconds: float


Outcome = Reply | httpx.TransportError | None
"""What a transport returns: an answer, the error if there was none, or None after a pause."""


def attempts(
    request: Request[Answer], api_url: str, max_retries: int
) -> Generator[Sending | Pause, Outcome, Answer]:
    """Send ``request``, again where that is safe and promising. Raises ApiError."""
    headers = {"Accept": "application/json", **request.headers}
    content = request.content()
    if content is not None:
        headers["Content-Type"] = "application/json"
    if request.repeat is Repeat.BY_KEY:
        headers.setdefault("Idempotency-Key", uuid.uuid4().hex)
    most = 1 + (max_retries if request.max_retries is None else request.max_retries)
    may_be_done = False
    attempt = 0
    while True:
        attempt += 1
        outcome = yield Sending(request, content, headers)
        error, was_sent = _error_in(outcome, request, api_url)
        if error is None:
            assert isinstance(outcome, Reply)
            return _understood(request, outcome, api_url)
        if may_be_done and request.repeat is Repeat.UNTIL_GONE and isinstance(error, NotFoundError):
            return request.understand(Reply(204, {}, b""))
        delay = retry_delay_seconds(request.repeat, attempt, error, was_sent=was_sent)
        if delay is None or attempt >= most:
            raise error
        may_be_done = may_be_done or (was_sent and not isinstance(outcome, Reply)) or _is_away(outcome)
        yield Pause(delay)


def _error_in(outcome: Outcome, request: Request[Any], api_url: str) -> tuple[ApiError | None, bool]:
    """The error, and whether the request may have reached the API."""
    if isinstance(outcome, Reply):
        if 200 <= outcome.status < 300 or outcome.status in request.also_answers:
            return None, True
        return error_of(outcome, retry_after_seconds=_retry_after(outcome)), True
    assert outcome is not None
    never_sent = isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    return _unreachable(outcome, api_url), not never_sent


def _is_away(outcome: Outcome) -> bool:
    return isinstance(outcome, Reply) and outcome.status >= 500


def _unreachable(problem: httpx.TransportError, api_url: str) -> UnreachableError:
    if isinstance(problem, httpx.TimeoutException):
        reason = "no answer in time"
    else:
        reason = str(problem).rstrip(".") or type(problem).__name__
    kind = error_class(ErrorCode.API_UNREACHABLE)
    assert issubclass(kind, UnreachableError)
    return kind(
        ErrorCode.API_UNREACHABLE,
        f"The API at {api_url} cannot be reached: {reason}.",
        remedy="Set SSL_CERT_FILE to the PEM file of its certificate authority."
        if "CERTIFICATE_VERIFY_FAILED" in reason
        else "Look whether it runs (dbaudit up), and at DBAUDIT_API_URL.",
    )


def _understood(request: Request[Answer], reply: Reply, api_url: str) -> Answer:
    try:
        return request.understand(reply)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise error_class(ErrorCode.INTERNAL_ERROR)(
            ErrorCode.INTERNAL_ERROR,
            f"The answer of {api_url} cannot be understood: {error}.",
            status=reply.status,
            request_id=reply.headers.get("X-Request-Id"),
            remedy="Look whether DBAUDIT_API_URL is the address of a dbaudit API of this version.",
        ) from None


def _retry_after(reply: Reply) -> float | None:
    """The header in seconds, of both its forms: a number, or a date."""
    value = reply.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - time.time())
