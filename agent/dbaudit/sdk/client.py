"""The clients: `Client` for threads, `AsyncClient` for asyncio."""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Self

import httpx

import dbaudit
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.sdk.cluster import AsyncCluster, Cluster
from dbaudit.sdk.databases import AsyncDatabases, Databases
from dbaudit.sdk.events import AsyncEvents, Events
from dbaudit.sdk.keys import AsyncKeys, Keys
from dbaudit.sdk.nodes import AsyncNodes, Nodes
from dbaudit.sdk.service import AsyncService, Service
from dbaudit.sdk.transport import AsyncTransport, Connecting, Transport

_URL = re.compile(r"https?://[^/@?#\s]+(?:/[^@?#\s]*)?")
_PORTS = range(1, 65_536)
_VERSION_PATH = re.compile(r"/v1/?$")
_DEFAULT_TIMEOUT_SECONDS = 30.0
_DEFAULT_RETRIES = 2


class Client:
    """A client of the API; may be used by many threads at once, and as a context manager.

    ``api_url`` is the address of the API, such as `https://dbaudit.example.com`; without it the variable
    DBAUDIT_API_URL. ``api_key`` is an API key; without it the variable DBAUDIT_API_KEY. ``timeout_seconds``
    bounds every wait for an answer (DBAUDIT_TIMEOUT_SECONDS, 30). A request that did not succeed is repeated
    up to ``max_retries`` times (DBAUDIT_MAX_RETRIES, 2), with growing delays, where that is safe.
    ``http_client`` brings your own proxies or certificates.

    Raises ConfigurationError if the address is missing or malformed, or a variable is not a number.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        api_key: str | Secret | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        http_client: httpx.Client | None = None,
    ) -> None:
        transport = Transport(_connecting(api_url, api_key, timeout_seconds, max_retries), http_client)
        self._transport = transport
        self.databases = Databases(transport)
        self.events = Events(transport)
        self.cluster = Cluster(transport)
        self.keys = Keys(transport)
        self.nodes = Nodes(transport)
        self.service = Service(transport)

    def __repr__(self) -> str:
        return f"Client(api_url={self._transport.connecting.api_url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncClient:
    """A client of the API for asyncio: the methods of ``Client``, to be awaited; lists and streams are
    iterated with ``async for``.

    Parameters, variables and errors are those of ``Client``; use it as an asynchronous context manager, or
    await ``aclose()``.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        api_key: str | Secret | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        transport = AsyncTransport(_connecting(api_url, api_key, timeout_seconds, max_retries), http_client)
        self._transport = transport
        self.databases = AsyncDatabases(transport)
        self.events = AsyncEvents(transport)
        self.cluster = AsyncCluster(transport)
        self.keys = AsyncKeys(transport)
        self.nodes = AsyncNodes(transport)
        self.service = AsyncService(transport)

    def __repr__(self) -> str:
        return f"AsyncClient(api_url={self._transport.connecting.api_url!r})"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _connecting(
    api_url: str | None, api_key: str | Secret | None, timeout_seconds: float | None, max_retries: int | None
) -> Connecting:
    url = api_url or os.environ.get("DBAUDIT_API_URL")
    key = api_key or os.environ.get("DBAUDIT_API_KEY")
    if not url:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            "The address of the API is not known.",
            remedy="Set DBAUDIT_API_URL, such as http://127.0.0.1:8080, or give api_url.",
        )
    if not _URL.fullmatch(url) or not _has_port_in_range(url):
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            "The address of the API is not a URL, or holds a user or a query.",
            remedy="Give it like http://127.0.0.1:8080, and the key in DBAUDIT_API_KEY.",
        )
    if timeout_seconds is None:
        timeout_seconds = _number("DBAUDIT_TIMEOUT_SECONDS", _DEFAULT_TIMEOUT_SECONDS)
    if max_retries is None:
        max_retries = int(_number("DBAUDIT_MAX_RETRIES", _DEFAULT_RETRIES))
    return Connecting(
        api_url=_VERSION_PATH.sub("", url).rstrip("/"),
        api_key=Secret(key) if isinstance(key, str) else key,
        timeout_seconds=timeout_seconds,
        max_retries=max_retries,
        user_agent=f"dbaudit-python/{dbaudit.__version__}",
    )


def _has_port_in_range(url: str) -> bool:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        return False
    return port is None or port in _PORTS


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable)
    if not text:
        return default
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", text):
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The variable {variable} is not a number from 0 on.",
            remedy=f"Set it like {default:g}, or unset it.",
        )
    return float(text)
