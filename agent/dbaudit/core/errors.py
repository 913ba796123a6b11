"""Errors of dbaudit: one enumeration of codes, and exception classes grouped by what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """Every code that the API and the command line can show. Codes never change their meaning."""

    # requests
    INVALID_JSON = "invalid_json"
    VALIDATION_FAILED = "validation_failed"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    PATH_NOT_FOUND = "path_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_ACCEPTABLE = "not_acceptable"
    DATABASE_EXISTS = "database_exists"
    CONFLICT = "conflict"
    PRUNE_LIMIT_EXCEEDED = "prune_limit_exceeded"
    MALFORMED_REQUEST = "malformed_request"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    URI_TOO_LONG = "uri_too_long"
    HEADERS_TOO_LARGE = "headers_too_large"
    HTTP_VERSION_NOT_SUPPORTED = "http_version_not_supported"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    CONNECTION_TEST_FAILED = "connection_test_failed"
    RATE_LIMIT_EXCEEDED = "rate_limit_exceeded"
    INTERNAL_ERROR = "internal_error"
    NO_AGENT_AVAILABLE = "no_agent_available"
    TOO_MANY_WAITING = "too_many_waiting"
    SHUTTING_DOWN = "shutting_down"

    # sending connection events to a listener (/v1/cluster)
    DB_CONNS_UNSUPPORTED = "db_conns_auditing_unsupported_by_capability"
    DB_CONNS_NOT_CONFIGURED = "db_conns_auditing_config_missing"
    DB_CONNS_NOT_FOUND = "db_conns_audit_config_not_found"
    DB_CONNS_ON_BY_POLICY = "cannot_delete_audit_config_when_policy_enabled"
    DB_CONNS_ON_FOR_DATABASE = "cannot_delete_audit_config_when_bdb_enabled"
    DB_CONNS_INCOMPLETE = "db_conns_auditing_missing_config"
    DB_CONNS_INVALID = "db_conns_auditing_bad_config"
    DB_CONNS_BAD_ADDRESS = "db_conns_auditing_bad_address"

    # reaching a monitored database
    HOST_NOT_FOUND = "host_not_found"
    CONNECTION_REFUSED = "connection_refused"
    CONNECTION_TIMEOUT = "connection_timeout"
    CONNECTION_LOST = "connection_lost"
    STATEMENT_TIMEOUT = "statement_timeout"
    AUTHENTICATION_FAILED = "authentication_failed"
    DATABASE_NOT_FOUND = "database_not_found"
    TLS_FAILED = "tls_failed"
    CERTIFICATE_INVALID = "certificate_invalid"
    WRONG_PROTOCOL = "wrong_protocol"
    SERVER_NOT_SUPPORTED = "server_not_supported"
    SERVER_STARTING = "server_starting"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    PERMISSION_MISSING = "permission_missing"
    AUDIT_SOURCE_MISSING = "audit_source_missing"
    AUDIT_SOURCE_STUCK = "audit_source_stuck"
    LISTENER_UNREACHABLE = "listener_unreachable"
    CURSOR_INVALID = "cursor_invalid"
    RECORD_INVALID = "record_invalid"

    # engines and plugins
    ENGINE_UNKNOWN = "engine_unknown"
    ENGINE_FAILED = "engine_failed"
    DRIVER_MISSING = "driver_missing"
    HOST_ACCESS_REFUSED = "host_access_refused"

    # the installation itself
    CONFIGURATION_INVALID = "configuration_invalid"
    STATE_UNAVAILABLE = "state_unavailable"
    STATE_NEWER_THAN_PROGRAM = "state_newer_than_program"
    STATE_CHANGED_ELSEWHERE = "state_changed_elsewhere"
    LEASE_LOST = "lease_lost"
    ENCRYPTION_KEY_MISSING = "encryption_key_missing"
    ENCRYPTION_KEY_INVALID = "encryption_key_invalid"
    API_UNREACHABLE = "api_unreachable"


HTTP_STATUS: Final[Mapping[ErrorCode, int]] = {
    ErrorCode.INVALID_JSON: 400,
    ErrorCode.VALIDATION_FAILED: 400,
    ErrorCode.ENGINE_UNKNOWN: 400,
    ErrorCode.UNAUTHORIZED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.PATH_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_ACCEPTABLE: 406,
    ErrorCode.DATABASE_EXISTS: 409,
    ErrorCode.CONFLICT: 409,
    ErrorCode.PRUNE_LIMIT_EXCEEDED: 409,
    ErrorCode.DB_CONNS_INCOMPLETE: 400,
    ErrorCode.DB_CONNS_INVALID: 400,
    ErrorCode.DB_CONNS_BAD_ADDRESS: 400,
    ErrorCode.DB_CONNS_NOT_FOUND: 404,
    ErrorCode.DB_CONNS_UNSUPPORTED: 406,
    ErrorCode.DB_CONNS_NOT_CONFIGURED: 406,
    ErrorCode.DB_CONNS_ON_BY_POLICY: 406,
    ErrorCode.DB_CONNS_ON_FOR_DATABASE: 406,
    ErrorCode.MALFORMED_REQUEST: 400,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.URI_TOO_LONG: 414,
    ErrorCode.HEADERS_TOO_LARGE: 431,
    ErrorCode.HTTP_VERSION_NOT_SUPPORTED: 505,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.CONNECTION_TEST_FAILED: 422,
    ErrorCode.RATE_LIMIT_EXCEEDED: 429,
    ErrorCode.NO_AGENT_AVAILABLE: 503,
    ErrorCode.TOO_MANY_WAITING: 503,
    ErrorCode.SHUTTING_DOWN: 503,
    ErrorCode.STATE_UNAVAILABLE: 503,
}
"""The HTTP status of every code that leaves the API as itself; any other one is a fault: 500."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request or a configuration.

    ``pointer`` is a JSON pointer (RFC 6901) into the body, or the name of a query parameter; ``message`` says
    what is wrong and what would be right, and never repeats a secret.
    """

    pointer: str
    message: str


class DbauditError(Exception):
    """Base of every error raised on purpose.

    ``code`` is stable; ``message`` is one clear line without secrets; ``details`` name fields; ``remedy`` is
    the exact thing to do or to run, where one is known.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Sequence[FieldError] = (),
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message


class ConfigurationError(DbauditError):
    """A person has to change something (a password, a grant, a file) before a new try can succeed."""


class TransientError(DbauditError):
    """The same thing may work later: wait, and try again.

    ``retry_after_seconds`` is what the other side asked for; None leaves the delay to the caller's back-off.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Sequence[FieldError] = (),
        remedy: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(code, message, details=details, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class RecordError(DbauditError):
    """One native record cannot be decoded: it is stored as rejected and counted; the others are decoded."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.RECORD_INVALID, message)


class PluginError(DbauditError):
    """An engine plugin broke its contract: a bug in the plugin, isolated from everything else."""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(ErrorCode.ENGINE_FAILED, message, remedy=remedy)


class RequestError(DbauditError):
    """The caller of the API or of the state asked for something that cannot be done; nothing was changed."""


def not_found(what: str, identifier: str) -> RequestError:
    """The error for an unknown ``identifier``, such as ``not_found("database", "db_x")``."""
    return RequestError(ErrorCode.NOT_FOUND, f"There is no {what} with the id {identifier!r}.")
