"""The exit codes of the command line, by kind of error. They never change their meaning."""

from __future__ import annotations

from enum import IntEnum

from dbaudit.core.errors import ErrorCode


class ExitCode(IntEnum):
    """What the exit code of `dbaudit` says; 2 is click's for a wrong use of the command line."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIGURATION = 3
    API_UNREACHABLE = 4
    NOT_ALLOWED = 5
    NOT_FOUND = 6
    REFUSED = 7
    STATE_UNAVAILABLE = 8
    INTERRUPTED = 130


_EXIT_CODES = {
    ErrorCode.CONFIGURATION_INVALID: ExitCode.CONFIGURATION,
    ErrorCode.ENCRYPTION_KEY_MISSING: ExitCode.CONFIGURATION,
    ErrorCode.ENCRYPTION_KEY_INVALID: ExitCode.CONFIGURATION,
    ErrorCode.STATE_NEWER_THAN_PROGRAM: ExitCode.CONFIGURATION,
    ErrorCode.DRIVER_MISSING: ExitCode.CONFIGURATION,
    ErrorCode.API_UNREACHABLE: ExitCode.API_UNREACHABLE,
    ErrorCode.UNAUTHORIZED: ExitCode.NOT_ALLOWED,
    ErrorCode.FORBIDDEN: ExitCode.NOT_ALLOWED,
    ErrorCode.NOT_FOUND: ExitCode.NOT_FOUND,
    ErrorCode.INVALID_JSON: ExitCode.REFUSED,
    ErrorCode.VALIDATION_FAILED: ExitCode.REFUSED,
    ErrorCode.DATABASE_EXISTS: ExitCode.REFUSED,
    ErrorCode.CONFLICT: ExitCode.REFUSED,
    ErrorCode.ENGINE_UNKNOWN: ExitCode.REFUSED,
    ErrorCode.STATE_UNAVAILABLE: ExitCode.STATE_UNAVAILABLE,
}


def exit_code(code: ErrorCode) -> ExitCode:
    """The exit code of an error; FAILURE for a code without one of its own."""
    return _EXIT_CODES.get(code, ExitCode.FAILURE)
