"""Which requests are tried again, and when."""

from __future__ import annotations

import random

from dbaudit.core.errors import ErrorCode
from dbaudit.sdk.errors import ApiError, RateLimitedError, UnavailableError, UnreachableError
from dbaudit.sdk.request import Repeat

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 8.0
LONGEST_RETRY_AFTER_SECONDS = 60.0


def retry_delay_seconds(repeat: Repeat, attempt: int, error: ApiError, *, was_sent: bool) -> float | None:
    """How long to wait before the next attempt; None: do not try again.

    ``attempt`` counts from 1. ``was_sent`` is False where the request cannot have reached the API, so that
    trying again can never do a thing twice.
    """
    refused = isinstance(error, RateLimitedError) or error.code is ErrorCode.TOO_MANY_WAITING or not was_sent
    away = isinstance(error, UnavailableError | UnreachableError)
    repeatable = refused or (away and repeat is not Repeat.NEVER)
    if error.code is ErrorCode.NO_AGENT_AVAILABLE or not repeatable:
        return None
    if error.retry_after_seconds is not None:
        if error.retry_after_seconds > LONGEST_RETRY_AFTER_SECONDS:
            return None
        return error.retry_after_seconds
    return back_off_seconds(attempt)


def back_off_seconds(attempt: int) -> float:
    """A delay that doubles with every attempt (from 1 on) up to 8 seconds, less up to a quarter by chance."""
    delay = min(FIRST_DELAY_SECONDS * 2.0 ** min(attempt - 1, 10), LONGEST_DELAY_SECONDS)
    return delay * (1 - random.random() / 4)  # noqa: S311  # spreads clients; no secret
