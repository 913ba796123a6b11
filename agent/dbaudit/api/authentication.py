"""Authentication: API keys, sent as a Bearer token or as the password of HTTP Basic."""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from dbaudit.api.rate_limit import RateLimiter
from dbaudit.core.errors import ErrorCode, RequestError, TransientError
from dbaudit.core.key_bounds import is_within
from dbaudit.state.api_keys import ApiKey, ApiKeyStore, Scope

_log = logging.getLogger(__name__)
_CACHED_KEYS = 1000
_LONGEST_KEY = 200


class Authenticator:
    """Finds the API key of a request, and says whether it may be used now and from where it comes.

    A key is remembered for ``cache_seconds``, so that not every request asks the state and a revocation
    still takes effect promptly. ``failures`` bounds the keys of each address that are refused.
    """

    def __init__(
        self,
        keys: ApiKeyStore,
        failures: RateLimiter,
        cache_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keys = keys
        self._failures = failures
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: dict[bytes, tuple[ApiKey, float]] = {}
        self._marked: dict[str, float] = {}

    def identify(self, authorization: str | None, address: str) -> ApiKey:
        """The key in the header ``authorization``.

        Raises RequestError (`unauthorized`), or TransientError (`rate_limit_exceeded`) for an address that
        has sent too many invalid ones.
        """
        if not authorization:
            raise RequestError(
                ErrorCode.UNAUTHORIZED,
                "An API key is needed.",
                remedy="Send the header Authorization: Bearer KEY; dbaudit keys create makes a key.",
            )
        presented = _presented(authorization)
        if presented is not None:
            digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
            cached = self._cache.get(digest)
            if cached is not None and cached[1] > self._clock():
                return cached[0]
            key = self._keys.verify(presented)
            if key is not None:
                self._remember(digest, key)
                return key
        self._count_refusal(address)
        raise RequestError(ErrorCode.UNAUTHORIZED, "The API key is not valid, or has been revoked.")

    def require_usable(self, key: ApiKey, address: str) -> None:
        """Raises RequestError: `unauthorized` for a key whose time is over, `forbidden` for one that comes
        from outside its networks; TransientError as ``identify`` does.
        """
        if key.is_expired:
            self._count_refusal(address)
            raise RequestError(
                ErrorCode.UNAUTHORIZED,
                "The API key has expired.",
                remedy="An administrator can give it more time, or make a new one.",
            )
        if key.bounds.networks and not is_within(address, key.bounds.networks):
            self._count_refusal(address)
            raise RequestError(
                ErrorCode.FORBIDDEN,
                "This API key may not be used from this address.",
                remedy="An administrator can add its network; the log of the API has the address.",
            )
        self._mark_used(key)

    def _count_refusal(self, address: str) -> None:
        allowance = self._failures.take(address)
        if allowance is not None and not allowance.allowed:
            raise TransientError(
                ErrorCode.RATE_LIMIT_EXCEEDED,
                "Too many invalid API keys came from this address.",
                retry_after_seconds=allowance.retry_after_seconds,
            )

    def _remember(self, digest: bytes, key: ApiKey) -> None:
        with self._lock:
            if len(self._cache) >= _CACHED_KEYS:
                self._cache.clear()
            self._cache[digest] = (key, self._clock() + self._cache_seconds)

    def _mark_used(self, key: ApiKey) -> None:
        now = self._clock()
        if self._marked.get(key.id, now) > now:
            return
        with self._lock:
            if len(self._marked) >= _CACHED_KEYS:
                self._marked.clear()
            self._marked[key.id] = now + self._cache_seconds
        try:
            self._keys.mark_used(key)
        except TransientError as error:
            _log.warning("the last use of key %s was not written: %s", key.id, error)


def require_scope(key: ApiKey, scopes: Sequence[str]) -> None:
    """Raises RequestError (`forbidden`) when ``key`` has none of ``scopes``, and not `admin`."""
    if Scope.ADMIN not in key.scopes and not any(scope in key.scopes for scope in scopes):
        raise RequestError(
            ErrorCode.FORBIDDEN,
            f"This API key does not have the scope {' or '.join(scopes)}.",
            remedy=f"Make a key that has it: dbaudit keys create --name NAME --scope {scopes[0]}",
        )


def _presented(authorization: str) -> str | None:
    scheme, _blank, value = authorization.partition(" ")
    value = value.strip()
    if len(value) > 4 * _LONGEST_KEY:
        return None
    match scheme.lower():
        case "bearer":
            return value or None
        case "basic":
            try:
                text = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                return None
            return text.partition(":")[2] or None
        case _:
            return None
