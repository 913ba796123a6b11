"""The service itself: whether it works, its figures, its document."""

from __future__ import annotations

from typing import Any

import msgspec

from dbaudit.sdk.frozen import freeze
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, call
from dbaudit.sdk.request import Request, understood_as, understood_as_text

_NOT_READY = frozenset({503})


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` is `ok`: the process answers."""

    status: str


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """``status`` is `ready` or `not_ready`; each of ``checks`` is `ok`, or the reason why not."""

    status: str
    checks: dict[str, str]

    def __post_init__(self) -> None:
        freeze(self, "checks")


def health_live() -> Request[Liveness]:
    """Whether the process answers. Needs no API key."""
    return Request(method="GET", path="/health/live", understand=understood_as(Liveness))


def health_ready() -> Request[Readiness]:
    """Whether the service can do its work; when it cannot, that is an answer and no error. Needs no API
    key.
    """
    return Request(
        method="GET", path="/health/ready", understand=understood_as(Readiness), also_answers=_NOT_READY
    )


def get_metrics() -> Request[str]:
    """The figures in the text format of Prometheus."""
    return Request(
        method="GET", path="/metrics", headers={"Accept": "text/plain"}, understand=understood_as_text
    )


def get_openapi_document() -> Request[dict[str, Any]]:
    """The OpenAPI document of the service."""
    return Request(method="GET", path="/v1/openapi.json", understand=understood_as(dict[str, Any]))


class Service(Resource):
    """``client.service``."""

    live = call(health_live)
    ready = call(health_ready)
    metrics = call(get_metrics)
    openapi = call(get_openapi_document)


class AsyncService(AsyncResource):
    """``client.service`` of an AsyncClient."""

    live = async_call(health_live)
    ready = async_call(health_ready)
    metrics = async_call(get_metrics)
    openapi = async_call(get_openapi_document)
