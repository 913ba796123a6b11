"""The Python SDK: databases and their audit events, over HTTP.

>>> import dbaudit
>>> client = dbaudit.Client()                      # reads DBAUDIT_API_URL and DBAUDIT_API_KEY
>>> for db in client.databases.list():             # all pages, one after the other
...     print(f"{db.name}: {db.status}")
"""

from dbaudit.sdk.client import Client
from dbaudit.sdk.databases import (
    AuditOptions,
    Collector,
    Database,
    DatabaseStatus,
    Diagnosis,
    HealthChecks,
    LastEvent,
    TestReport,
)
from dbaudit.sdk.errors import (
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
from dbaudit.sdk.events import Event, EventStream
from dbaudit.sdk.nodes import Node
from dbaudit.sdk.pages import Page, Pages

__all__ = [
    "ApiError",
    "AuditOptions",
    "Client",
    "Collector",
    "ConflictError",
    "ConnectionTestFailedError",
    "Database",
    "DatabaseStatus",
    "Diagnosis",
    "Event",
    "EventStream",
    "ForbiddenError",
    "HealthChecks",
    "InvalidRequestError",
    "LastEvent",
    "Node",
    "NotFoundError",
    "Page",
    "Pages",
    "RateLimitedError",
    "ServerError",
    "TestReport",
    "UnauthorizedError",
    "UnavailableError",
    "UnreachableError",
]
