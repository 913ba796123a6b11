"""The Python SDK: databases and their audit events, over HTTP.

>>> import dbaudit
>>> client = dbaudit.Client()                      # reads DBAUDIT_API_URL and DBAUDIT_API_KEY
>>> for db in client.databases.list():             # all pages, one after the other
...     print(f"{db.name}: {db.status}")

The classes of the errors are here too, one for each code of the API, such as
``dbaudit.sdk.DatabaseExistsError``.
"""

from __future__ import annotations

from msgspec import UNSET

from dbaudit.sdk.client import AsyncClient, Client
from dbaudit.sdk.cluster import ClusterPolicy, DbConnsSettings, DbConnsStatus, Delivery, DeliveryError
from dbaudit.sdk.database_results import (
    AuditOptions,
    Collector,
    Database,
    DatabaseListResult,
    DatabaseResult,
    DatabaseStatus,
    Diagnosis,
    Difference,
    DryRun,
    Health,
    HealthChecks,
    LastError,
    LastEvent,
    Stats,
    TestReport,
)
from dbaudit.sdk.errors import (
    BY_NAME,
    ApiError,
    ConflictError,
    ConnectionTestFailedError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from dbaudit.sdk.events import Event
from dbaudit.sdk.keys import Key, NewKey
from dbaudit.sdk.nodes import Node
from dbaudit.sdk.pages import AsyncPages, Page, Pages
from dbaudit.sdk.service import Liveness, Readiness
from dbaudit.sdk.streams import AsyncEventStream, EventStream

__all__ = [
    "UNSET",
    "ApiError",
    "AsyncClient",
    "AsyncEventStream",
    "AsyncPages",
    "AuditOptions",
    "Client",
    "ClusterPolicy",
    "Collector",
    "ConflictError",
    "ConnectionTestFailedError",
    "Database",
    "DatabaseListResult",
    "DatabaseResult",
    "DatabaseStatus",
    "DbConnsSettings",
    "DbConnsStatus",
    "Delivery",
    "DeliveryError",
    "Diagnosis",
    "Difference",
    "DryRun",
    "Event",
    "EventStream",
    "ForbiddenError",
    "Health",
    "HealthChecks",
    "InvalidRequestError",
    "Key",
    "LastError",
    "LastEvent",
    "Liveness",
    "NewKey",
    "Node",
    "NotFoundError",
    "Page",
    "Pages",
    "RateLimitedError",
    "Readiness",
    "ServerError",
    "Stats",
    "TestReport",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
]


def __getattr__(name: str) -> type[ApiError]:
    try:
        return BY_NAME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *BY_NAME})
