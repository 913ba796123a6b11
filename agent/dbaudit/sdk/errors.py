"""The errors of the API: one class for each code, grouped by what a caller can do next.

The groups are written here. The class of each code is made from ErrorCode: ``DatabaseExistsError`` is that of
`database_exists`, and a ConflictError.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from dbaudit.core.errors import HTTP_STATUS, DbauditError, ErrorCode, FieldError
from dbaudit.sdk.request import Reply

if TYPE_CHECKING:
    from dbaudit.sdk.database_results import TestReport


class ApiError(DbauditError):
    """Base of all errors of the SDK.

    ``code``, ``message``, ``details`` and ``remedy`` are those of the API. ``status`` is the HTTP status,
    None where there was no answer; ``request_id`` finds the request in the log of the API;
    ``retry_after_seconds`` is what the API asked to wait.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        details: Sequence[FieldError] = (),
        remedy: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, details=details, remedy=remedy)
        self.status = status
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), self.code), (self.message,), vars(self)


class UnreachableError(ApiError):
    """There was no answer: the API is not there, or did not answer in time."""


class InvalidRequestError(ApiError):
    """400, 406, 413, 415 ...: the request is wrong; ``details`` name each field. Nothing was changed."""


class UnauthorizedError(ApiError):
    """401: no API key, or one that is not valid."""


class ForbiddenError(ApiError):
    """403: the API key does not have the scope."""


class NotFoundError(ApiError):
    """404: there is nothing with this id."""


class ConflictError(ApiError):
    """409: there is such a database already, or it was changed meanwhile."""


class ConnectionTestFailedError(ApiError):
    """422: the database was not reached, or the log-in refused; ``report`` says why."""

    report: TestReport


class RateLimitedError(ApiError):
    """429: the key has used up its requests."""


class ServerError(ApiError):
    """500: a fault of the API; its log has the details under ``request_id``."""


class UnavailableError(ApiError):
    """502, 503, 504: the API, its state or its agents are temporarily unavailable."""


_GROUPS: Mapping[int, type[ApiError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: ConnectionTestFailedError,
    429: RateLimitedError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
_OF_THE_STATUS: Mapping[int, ErrorCode] = {
    401: ErrorCode.UNAUTHORIZED,
    403: ErrorCode.FORBIDDEN,
    404: ErrorCode.NOT_FOUND,
    409: ErrorCode.CONFLICT,
    422: ErrorCode.CONNECTION_TEST_FAILED,
    429: ErrorCode.RATE_LIMIT_EXCEEDED,
}


def _group(status: int) -> type[ApiError]:
    return _GROUPS.get(status, ServerError if status >= 500 else InvalidRequestError)


def _class_of(code: ErrorCode) -> type[ApiError]:
    group = UnreachableError if code is ErrorCode.API_UNREACHABLE else _group(HTTP_STATUS.get(code, 500))
    words = "".join(word.capitalize() for word in code.name.split("_"))
    name = words if words.endswith("Error") else f"{words}Error"
    if name == group.__name__:
        return group
    description = f"`{code}`. {(group.__doc__ or '').partition(': ')[0]}, as every {group.__name__}."
    return type(name, (group,), {"__doc__": description, "__module__": __name__})


_RAISED = (*HTTP_STATUS, ErrorCode.INTERNAL_ERROR, ErrorCode.API_UNREACHABLE)
_CLASSES = {code: _class_of(code) for code in ErrorCode if code in _RAISED}
_GROUP_CLASSES: tuple[type[ApiError], ...] = (
    ApiError,
    UnreachableError,
    InvalidRequestError,
    ServerError,
    *_GROUPS.values(),
)
BY_NAME: Mapping[str, type[ApiError]] = {
    kind.__name__: kind for kind in (*_GROUP_CLASSES, *_CLASSES.values())
}
"""Every class that the SDK raises, by its name."""

globals().update(BY_NAME)

if TYPE_CHECKING:

    def __getattr__(name: str) -> type[ApiError]: ...


def error_class(code: ErrorCode) -> type[ApiError]:
    """The class of a code that the API can answer with; ApiError for any other."""
    return _CLASSES.get(code, ApiError)


def error_of(reply: Reply, *, retry_after_seconds: float | None) -> ApiError:
    """The error for an answer. The status decides on the group, so an answer of a newer API, or one whose
    code belongs to another status, still becomes an error of the right group. If it has no JSON of the API,
    something in front of the API (a proxy) has answered.
    """
    body = _json(reply)
    group = _group(reply.status)
    said = _said(body)
    if said is None:
        # Only the API itself can say that it tested a connection.
        bare = InvalidRequestError if group is ConnectionTestFailedError else group
        return bare(
            ErrorCode.API_UNREACHABLE,
            f"Something that is not the API of dbaudit answered with HTTP status {reply.status}.",
            status=reply.status,
            remedy="Look at the address of the API and at the proxies before it.",
            retry_after_seconds=retry_after_seconds,
        )
    code = _known_code(said.get("code"), reply.status)
    exact = error_class(code)
    details = said.get("details")
    error = (exact if issubclass(exact, group) else group)(
        code,
        str(said.get("message", "The API gave no reason.")),
        status=reply.status,
        request_id=said.get("request_id") or reply.headers.get("X-Request-Id"),
        details=[
            FieldError(str(detail.get("pointer", "")), str(detail.get("message", "")))
            for detail in (details if isinstance(details, list) else ())
            if isinstance(detail, dict)
        ],
        remedy=said.get("remedy"),
        retry_after_seconds=retry_after_seconds,
    )
    if isinstance(error, ConnectionTestFailedError):
        from dbaudit.sdk.database_results import report_of

        error.report = report_of(body.get("report"))
    return error


def _said(body: Any) -> dict[str, Any] | None:
    """The error in a body: of the form of most paths, or of that of the paths under `/v1/cluster`."""
    if not isinstance(body, dict):
        return None
    error = body.get("error")
    if isinstance(error, dict):
        return error
    return {**body, "code": body["error_code"]} if "error_code" in body else None


def _json(reply: Reply) -> Any:
    try:
        return msgspec.json.decode(reply.content)
    except msgspec.MsgspecError:
        return None


def _known_code(code: Any, status: int) -> ErrorCode:
    try:
        return ErrorCode(code)
    except ValueError:  # a newer API
        fallback = ErrorCode.INTERNAL_ERROR if status >= 500 else ErrorCode.VALIDATION_FAILED
        return _OF_THE_STATUS.get(status, fallback)
