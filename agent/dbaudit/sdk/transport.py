"""Sends requests over HTTP: by threads, or by asyncio."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from dbaudit.core.secret import Secret
from dbaudit.sdk.attempts import Outcome, Pause, Sending, attempts
from dbaudit.sdk.request import Answer, Reply, Request

CONNECT_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Connecting:
    """Where the API is and how it is reached."""

    api_url: str
    api_key: Secret | None
    timeout_seconds: float
    max_retries: int
    user_agent: str

    def arguments(self, sending: Sending) -> dict[str, Any]:
        """What httpx is given."""
        request = sending.request
        headers = {**sending.headers, "User-Agent": self.user_agent}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key.reveal()}"
        return {
            "method": request.method,
            "url": self.api_url + request.path,
            "params": request.parameters(),
            "content": sending.content,
            "headers": headers,
            "timeout": httpx.Timeout(
                request.timeout_seconds or self.timeout_seconds, connect=CONNECT_TIMEOUT_SECONDS
            ),
        }


async def _pause(seconds: float) -> None:
    import asyncio  # programs without it need not load it

    await asyncio.sleep(seconds)


class Transport:
    """Sends requests and waits for their answers; used by many threads at once."""

    def __init__(
        self,
        connecting: Connecting,
        http_client: httpx.Client | None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.connecting = connecting
        self.sleep = sleep
        self._client = http_client or httpx.Client()

    def send(self, request: Request[Answer]) -> Answer:
        """The answer to ``request``. Raises ApiError."""
        steps = attempts(request, self.connecting.api_url, self.connecting.max_retries)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            if isinstance(step, Pause):
                self.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._exchange(step)

    def _exchange(self, sending: Sending) -> Outcome:
        try:
            return _reply(self._client.request(**self.connecting.arguments(sending)))
        except httpx.TransportError as problem:
            return problem

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class AsyncTransport:
    """Sends requests and awaits their answers; used by many tasks of one event loop."""

    def __init__(
        self,
        connecting: Connecting,
        http_client: httpx.AsyncClient | None,
        sleep: Callable[[float], Awaitable[None]] = _pause,
    ) -> None:
        self.connecting = connecting
        self.sleep = sleep
        self._client = http_client or httpx.AsyncClient()

    async def send(self, request: Request[Answer]) -> Answer:
        """The answer to ``request``. Raises ApiError."""
        steps = attempts(request, self.connecting.api_url, self.connecting.max_retries)
        outcome: Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            if isinstance(step, Pause):
                await self.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._exchange(step)

    async def _exchange(self, sending: Sending) -> Outcome:
        try:
            return _reply(await self._client.request(**self.connecting.arguments(sending)))
        except httpx.TransportError as problem:
            return problem

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)
