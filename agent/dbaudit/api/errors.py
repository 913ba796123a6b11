"""Errors as the caller sees them: one form, a status for each code, and nothing that must not leave."""

from __future__ import annotations

import logging
import math
from typing import Any

import msgspec
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from dbaudit.core.errors import HTTP_STATUS, DbauditError, ErrorCode, FieldError, TransientError
from dbaudit.core.secret import Secret
from dbaudit.core.tracebacks import safe_traceback

_log = logging.getLogger(__name__)

_OF_HTTP = {
    400: (ErrorCode.MALFORMED_REQUEST, "The request cannot be understood."),
    404: (ErrorCode.PATH_NOT_FOUND, "There is nothing at this path."),
    405: (ErrorCode.METHOD_NOT_ALLOWED, "This path does not know this method."),
    413: (ErrorCode.PAYLOAD_TOO_LARGE, "The body is too large."),
    415: (ErrorCode.UNSUPPORTED_MEDIA_TYPE, "The body has to be application/json."),
}
_WORDS_OF_STATE = "The state of the service cannot be reached at the moment; try again."
_WORDS_OF_FAULT = "A fault of the service; its log has the details under the request id."
_RETRY_AFTER_SECONDS = 2
_CLUSTER_PATHS = "/v1/cluster/"


def error_body(
    code: str,
    message: str,
    request_id: str,
    details: tuple[FieldError, ...] = (),
    *,
    path: str,
    remedy: str | None = None,
    retry_after: int | None = None,
) -> dict[str, Any]:
    """The form of every error at ``path``: the cluster's paths have the one of their specification."""
    if path.startswith(_CLUSTER_PATHS):
        words = [message, *(f"{d.pointer.lstrip('/')} {d.message}." for d in details), remedy]
        return {"error_code": code, "message": " ".join(word for word in words if word)}
    error: dict[str, Any] = {"code": code, "message": message, "request_id": request_id}
    if remedy is not None:
        error["remedy"] = remedy
    if retry_after is not None:
        error["retry_after"] = retry_after
    error["details"] = [{"pointer": d.pointer, "message": d.message} for d in details]
    return {"error": error}


def register_errors(app: Flask) -> None:
    """Let every error of ``app``, expected or not, leave in this form."""
    app.register_error_handler(DbauditError, _of_ours)
    app.register_error_handler(HTTPException, _of_http)
    app.register_error_handler(Exception, _of_fault)


def _of_ours(error: DbauditError) -> Response:
    status = HTTP_STATUS.get(error.code)
    if status is None:
        return _of_fault(error)
    message = error.message
    if error.code is ErrorCode.STATE_UNAVAILABLE:
        _log.error("request %s: %s", g.request_id, error.message)
        message = _WORDS_OF_STATE
    retry_after = None
    if isinstance(error, TransientError):
        retry_after = math.ceil(error.retry_after_seconds or _RETRY_AFTER_SECONDS)
    body = error_body(
        error.code,
        message,
        g.request_id,
        error.details,
        path=request.path,
        remedy=error.remedy,
        retry_after=retry_after,
    )
    report = getattr(error, "report", None)
    if report is not None:
        body["report"] = report
    response = _response(body, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    if status == 401:
        response.headers["WWW-Authenticate"] = (
            'Bearer realm="dbaudit", Basic realm="dbaudit", charset="UTF-8"'
        )
    return response


def _of_http(error: HTTPException) -> Response | HTTPException:
    if error.code not in _OF_HTTP:
        return _of_fault(error)
    code, message = _OF_HTTP[error.code]
    response = _response(error_body(code, message, g.request_id, path=request.path), error.code)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _of_fault(error: Exception) -> Response:
    secrets = [*g.get("secrets", ()), Secret(request.headers.get("Authorization", "").rpartition(" ")[2])]
    _log.error("request %s failed: %s", g.request_id, safe_traceback(error, secrets))
    body = error_body(ErrorCode.INTERNAL_ERROR, _WORDS_OF_FAULT, g.request_id, path=request.path)
    return _response(body, 500)


def _response(body: dict[str, Any], status: int) -> Response:
    return Response(msgspec.json.encode(body), status, mimetype="application/json")
