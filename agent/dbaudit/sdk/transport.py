"""One request to the API and its answer: the key, time-outs, retries, errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import httpx
import msgspec

from dbaudit.core.errors import ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.sdk.errors import ApiError, ServerError, UnreachableError, error_of
from dbaudit.sdk.retry import retry_delay_seconds

CONNECT_TIMEOUT_SECONDS = 5.0

Answer = TypeVar("Answer")


class Transport:
    """Sends requests to the API at ``api_url``; used by many threads at once."""

    def __init__(
        self,
        api_url: str,
        api_key: Secret | None,
        *,
        timeout_seconds: float,
        max_retries: int,
        user_agent: str,
        http_client: httpx.Client | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self._api_key = api_key
        self._timeout_seconds = timeout_seconds
        self._max_retries = max_retries
        self._user_agent = user_agent
        self._client = http_client or httpx.Client()
        self._sleep = sleep

    def request(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
    ) -> Answer:
        """Send a request, again where that is safe and promising, and decode its answer as ``answer``.

        ``query`` and ``body`` leave out what is None in the query, and nothing in the body. Raises ApiError.
        """
        content = None if body is None else msgspec.json.encode(body, enc_hook=_encode)
        attempts = 1 + (self._max_retries if max_retries is None else max_retries)
        attempt = 0
        while True:
            attempt += 1
            was_sent = True
            try:
                response = self._send(method, path, query or {}, content, timeout_seconds)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as problem:
                was_sent = False
                error: ApiError = self._unreachable(problem)
            except httpx.TransportError as problem:
                error = self._unreachable(problem)
            else:
                if response.is_success:
                    return self._decode(response, answer)
                error = error_of(
                    response.status_code, _json(response), retry_after_seconds=_retry_after(response)
                )
            delay = retry_delay_seconds(method, attempt, error, was_sent=was_sent)
            if delay is None or attempt >= attempts:
                raise error
            self._sleep(delay)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        content: bytes | None,
        timeout_seconds: float | None,
    ) -> httpx.Response:
        headers = {"Accept": "application/json", "User-Agent": self._user_agent}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._api_key is not None:
            headers["Authorization"] = f"Bearer {self._api_key.reveal()}"
        return self._client.request(
            method,
            self.api_url + path,
            params={name: value for name, value in query.items() if value is not None},
            content=content,
            headers=headers,
            timeout=httpx.Timeout(timeout_seconds or self._timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS),
        )

    def _unreachable(self, problem: httpx.TransportError) -> UnreachableError:
        if isinstance(problem, httpx.TimeoutException):
            reason = "no answer in time"
        else:
            reason = str(problem).rstrip(".") or type(problem).__name__
        return UnreachableError(
            ErrorCode.API_UNREACHABLE,
            f"The API at {self.api_url} cannot be reached: {reason}.",
            remedy="Set SSL_CERT_FILE to the PEM file of its certificate authority."
            if "CERTIFICATE_VERIFY_FAILED" in reason
            else "Look whether it runs (dbaudit up), and at DBAUDIT_API_URL.",
        )

    def _decode(self, response: httpx.Response, answer: type[Answer]) -> Answer:
        try:
            return msgspec.json.decode(response.content or b"null", type=answer)
        except msgspec.MsgspecError as error:
            raise ServerError(
                ErrorCode.INTERNAL_ERROR,
                f"The answer of {self.api_url} cannot be understood: {error}.",
                status=response.status_code,
                request_id=response.headers.get("X-Request-Id"),
                remedy="Look whether DBAUDIT_API_URL is the address of a dbaudit API of this version.",
            ) from None


def _encode(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"{type(value).__name__} cannot be sent as JSON")


def _json(response: httpx.Response) -> Any:
    try:
        return msgspec.json.decode(response.content)
    except msgspec.MsgspecError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None
