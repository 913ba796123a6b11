"""Requests to the API, independent of how they are sent: the same for both clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from dbaudit.core import typed
from dbaudit.core.secret import Secret

Answer = TypeVar("Answer")


class Repeat(Enum):
    """Whether a request may be sent again although the first one may have been done."""

    FREELY = auto()
    """Doing it twice is the same as doing it once."""

    BY_KEY = auto()
    """It has an Idempotency-Key, by which the API recognises a repeated request."""

    UNTIL_GONE = auto()
    """It removes something: if that is gone at the second request, the first one has removed it."""

    NEVER = auto()


@dataclass(frozen=True)
class Reply:
    """An answer of the API, not decoded yet."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, repr=False, kw_only=True)
class Request(Generic[Answer]):
    """A request and how its answer is understood; without ``repr``, as its body may hold secrets.

    What is None in ``query`` and UNSET in ``body`` is not sent. ``also_answers`` are HTTP statuses that are
    no error here.
    """

    method: str
    path: str
    understand: Callable[[Reply], Answer]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeat: Repeat = Repeat.FREELY
    also_answers: frozenset[int] = frozenset()
    timeout_seconds: float | None = None
    max_retries: int | None = None

    def content(self) -> bytes | None:
        """The body as JSON."""
        if self.body is None:
            return None
        given = {name: value for name, value in self.body.items() if value is not msgspec.UNSET}
        return msgspec.json.encode(given, enc_hook=_encode)

    def parameters(self) -> dict[str, Any]:
        """The query."""
        return {name: _parameter(value) for name, value in self.query.items() if value is not None}


def understood_as(kind: type[Answer]) -> Callable[[Reply], Answer]:
    """A function that decodes a JSON answer as ``kind``. It raises msgspec.MsgspecError for other answers."""

    def understand(reply: Reply) -> Answer:
        return typed.decode(reply.content or b"null", kind)

    return understand


def understood_as_text(reply: Reply) -> str:
    """Understands an answer as text in UTF-8."""
    return reply.content.decode()


def segment(identifier: str) -> str:
    """``identifier`` as one part of a path, whatever is in it. Raises ValueError where it is empty: the path
    would be that of the whole list.
    """
    if not identifier:
        raise ValueError("An id is needed; this one is empty.")
    return quote(identifier, safe="")


def _parameter(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _encode(value: object) -> object:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"{type(value).__name__} cannot be sent as JSON")
