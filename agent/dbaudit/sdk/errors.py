"""What the API answers when it cannot do what was asked: one class a kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dbaudit.core.errors import DbauditError, ErrorCode, FieldError

if TYPE_CHECKING:
    from dbaudit.sdk.databases import TestReport


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


class UnreachableError(ApiError):
    """There was no answer: the API is not there, or did not answer in time (`api_unreachable`)."""


class InvalidRequestError(ApiError):
    """400, 413, 415 ...: the request is not valid; ``details`` name each field. Nothing was changed."""


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
    """502, 503, 504: the API, its state or its agents are away for the moment."""


_KINDS: dict[int, tuple[type[ApiError], ErrorCode]] = {
    401: (UnauthorizedError, ErrorCode.UNAUTHORIZED),
    403: (ForbiddenError, ErrorCode.FORBIDDEN),
    404: (NotFoundError, ErrorCode.NOT_FOUND),
    409: (ConflictError, ErrorCode.CONFLICT),
    422: (ConnectionTestFailedError, ErrorCode.CONNECTION_TEST_FAILED),
    429: (RateLimitedError, ErrorCode.RATE_LIMIT_EXCEEDED),
    502: (UnavailableError, ErrorCode.API_UNREACHABLE),
    503: (UnavailableError, ErrorCode.API_UNREACHABLE),
    504: (UnavailableError, ErrorCode.API_UNREACHABLE),
}


def error_of(status: int, body: Any, *, retry_after_seconds: float | None) -> ApiError:
    """The error that an answer says. ``body`` is its JSON, or None where it has none: then something before
    the API (a proxy) has answered.
    """
    fallback = (
        (ServerError, ErrorCode.INTERNAL_ERROR)
        if status >= 500
        else (
            InvalidRequestError,
            ErrorCode.VALIDATION_FAILED,
        )
    )
    kind, code = _KINDS.get(status, fallback)
    said = body.get("error") if isinstance(body, dict) else None
    if not isinstance(said, dict):
        return _bare(kind)(
            ErrorCode.API_UNREACHABLE,
            f"Something that is not the API of dbaudit answered with HTTP status {status}.",
            status=status,
            remedy="Look at the address of the API and at the proxies before it.",
            retry_after_seconds=retry_after_seconds,
        )
    error = kind(
        _known_code(said.get("code"), code),
        str(said.get("message", "The API gave no reason.")),
        status=status,
        request_id=said.get("request_id"),
        details=[
            FieldError(str(detail.get("pointer", "")), str(detail.get("message", "")))
            for detail in said.get("details", ())
            if isinstance(detail, dict)
        ],
        remedy=said.get("remedy"),
        retry_after_seconds=retry_after_seconds,
    )
    if isinstance(error, ConnectionTestFailedError):
        from dbaudit.sdk.databases import report_of

        error.report = report_of(body.get("report"))
    return error


def _bare(kind: type[ApiError]) -> type[ApiError]:
    # Only the API itself can say that it tested a connection.
    return InvalidRequestError if kind is ConnectionTestFailedError else kind


def _known_code(code: Any, otherwise: ErrorCode) -> ErrorCode:
    try:
        return ErrorCode(code)
    except ValueError:  # a newer API
        return otherwise
