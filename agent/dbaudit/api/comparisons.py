"""Answers that say whether a given secret is the stored one are rationed: they would find it by guessing.

`changed` of a dry run, and of a request that in the end changes nothing, is such an answer. A request that
writes the secret is not: what it is compared with afterwards is the guess.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from flask import g

from dbaudit.api.rate_limit import RateLimiter
from dbaudit.api.visit import this_visit
from dbaudit.core.database import SECRET_FIELDS
from dbaudit.core.errors import ErrorCode, TransientError

PER_MINUTE = 10
_COUNTED = "compared"


class Comparisons:
    """Allows each API key ``PER_MINUTE`` comparisons a minute with the secrets of each database, counted in
    this process.
    """

    def __init__(self) -> None:
        self._limiter = RateLimiter(PER_MINUTE)

    def admit(self, database_ids: Collection[str]) -> None:
        """Count one comparison for each database, at the first run of the request. Raises TransientError
        (`rate_limit_exceeded`).
        """
        counted: set[str] = this_visit().found.setdefault(_COUNTED, set())
        waits = []
        for database_id in database_ids:
            if database_id in counted:
                continue
            counted.add(database_id)
            allowance = self._limiter.take(_name(database_id))
            if allowance is not None and not allowance.allowed:
                waits.append(allowance.retry_after_seconds)
        if waits:
            raise TransientError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                f"This API key has compared secrets with those of the database {PER_MINUTE} times a minute "
                "without writing them.",
                remedy="Leave password and ssl_key out of dry runs, or wait.",
                retry_after_seconds=max(waits),
            )

    def written(self, database_ids: Collection[str]) -> None:
        """Do not count those that ended in a change."""
        for database_id in database_ids:
            self._limiter.give_back(_name(database_id))


def holds_secret(fields: Mapping[str, Any]) -> bool:
    """Whether the fields of a request contain a secret that would be compared."""
    return any(fields.get(field) is not None for field in SECRET_FIELDS)


def _name(database_id: str) -> str:
    return f"{g.api_key_id} {database_id}"
