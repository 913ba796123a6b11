"""Makes the methods of both clients from one description of each request.

A description is a function with the parameters and the docstring of the method; it gives the request.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from dbaudit.sdk.pages import AsyncPages, Item, Page, Pages
from dbaudit.sdk.request import Answer, Request
from dbaudit.sdk.transport import AsyncTransport, Transport

P = ParamSpec("P")
_Method = TypeVar("_Method", bound=Callable[..., Any])
_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


class Resource:
    """A part of ``Client``. Every method raises ``dbaudit.sdk.ApiError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class AsyncResource:
    """A part of ``AsyncClient``. Every method raises ``dbaudit.sdk.ApiError``."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport


def call(describe: Callable[P, Request[Answer]]) -> Callable[Concatenate[Resource, P], Answer]:
    """The method that sends the request and returns its answer."""

    def method(self: Resource, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return self._transport.send(describe(*args, **kwargs))

    return described(method, describe)


def async_call(
    describe: Callable[P, Request[Answer]],
) -> Callable[Concatenate[AsyncResource, P], Awaitable[Answer]]:
    """The method that sends the request, to be awaited."""

    async def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> Answer:
        return await self._transport.send(describe(*args, **kwargs))

    return described(method, describe)


def listing(describe: Callable[P, Request[Page[Item]]]) -> Callable[Concatenate[Resource, P], Pages[Item]]:
    """The method that iterates over all pages."""

    def method(self: Resource, /, *args: P.args, **kwargs: P.kwargs) -> Pages[Item]:
        return Pages(self._transport, describe(*args, **kwargs))

    return described(method, describe)


def async_listing(
    describe: Callable[P, Request[Page[Item]]],
) -> Callable[Concatenate[AsyncResource, P], AsyncPages[Item]]:
    """The method that iterates over all pages with ``async for``."""

    def method(self: AsyncResource, /, *args: P.args, **kwargs: P.kwargs) -> AsyncPages[Item]:
        return AsyncPages(self._transport, describe(*args, **kwargs))

    return described(method, describe)


def described(method: _Method, describe: Callable[..., Any]) -> _Method:
    """``method`` with the name, the parameters and the docstring of ``describe``, as ``help`` shows them."""
    functools.update_wrapper(method, describe)
    signature = inspect.signature(describe)
    method.describe = method.__wrapped__  # type: ignore[attr-defined]  # ours
    del method.__wrapped__  # type: ignore[attr-defined]  # it has no self, which help would take away
    shown = signature.replace(
        parameters=[_SELF, *signature.parameters.values()], return_annotation=inspect.Signature.empty
    )
    method.__signature__ = shown  # type: ignore[attr-defined]  # ours
    return method
