"""The client."""

from __future__ import annotations

import os
import re
from types import TracebackType
from typing import Self

import httpx

import dbaudit
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.sdk.databases import Databases
from dbaudit.sdk.events import Events
from dbaudit.sdk.nodes import Nodes
from dbaudit.sdk.transport import Transport

_URL = re.compile(r"https?://[^/@?#\s]+(?:/[^@?#\s]*)?")
_PORTS = range(1, 65_536)
_VERSION_PATH = re.compile(r"/v1/?$")


def _has_port_in_range(url: str) -> bool:
    try:
        port = httpx.URL(url).port
    except httpx.InvalidURL:
        return False
    return port is None or port in _PORTS


class Client:
    """A client of the API; may be used by many threads at once, and as a context manager.

    ``api_url`` is the address of the API, such as `https://dbaudit.example.com`; without it the variable
    DBAUDIT_API_URL. ``api_key`` is an API key; without it the variable DBAUDIT_API_KEY. ``timeout_seconds``
    bounds every wait for an answer. A request that did not succeed is repeated up to ``max_retries`` times,
    with growing delays, where that is safe. ``http_client`` brings your own proxies or certificates.

    Raises ConfigurationError where the address is missing or is none.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        api_key: str | Secret | None = None,
        timeout_seconds: float = 30.0,
        max_retries: int = 2,
        http_client: httpx.Client | None = None,
    ) -> None:
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
        self._transport = Transport(
            _VERSION_PATH.sub("", url),
            Secret(key) if isinstance(key, str) else key,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            user_agent=f"dbaudit-python/{dbaudit.__version__}",
            http_client=http_client,
        )
        self.databases = Databases(self._transport)
        self.events = Events(self._transport)
        self.nodes = Nodes(self._transport)

    def __repr__(self) -> str:
        return f"Client(api_url={self._transport.api_url!r})"

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
