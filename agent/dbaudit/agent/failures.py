"""What an error means for the database: what users are shown, and how soon it is tried again."""

from __future__ import annotations

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.database import ConnectionStatus
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, Health, TestReport
from dbaudit.state.collectors import CollectorState

# A report may hold these, too; they may be gone at the next try.
_PASSING = frozenset(
    {
        ErrorCode.CONNECTION_REFUSED,
        ErrorCode.CONNECTION_TIMEOUT,
        ErrorCode.CONNECTION_LOST,
        ErrorCode.STATEMENT_TIMEOUT,
        ErrorCode.SERVER_STARTING,
        ErrorCode.TOO_MANY_CONNECTIONS,
    }
)
# The log-in worked; what failed came after it.
_REACHED = frozenset(
    {ErrorCode.PERMISSION_MISSING, ErrorCode.AUDIT_SOURCE_MISSING, ErrorCode.SERVER_NOT_SUPPORTED}
)
# These say nothing of the database.
_NOT_OF_THE_DATABASE = frozenset(
    {
        ErrorCode.CURSOR_INVALID,
        ErrorCode.ENGINE_UNKNOWN,
        ErrorCode.ENGINE_FAILED,
        ErrorCode.DRIVER_MISSING,
        ErrorCode.CONFIGURATION_INVALID,
        ErrorCode.ENCRYPTION_KEY_MISSING,
        ErrorCode.ENCRYPTION_KEY_INVALID,
        ErrorCode.INTERNAL_ERROR,
    }
)


class Shown(msgspec.Struct, frozen=True):
    """A failure as users see it, in the statuses of the database and of its collector."""

    status: ConnectionStatus
    state: CollectorState
    code: str
    reason: str
    health: Health


def shown(error: DbauditError) -> Shown:
    """What users are shown of ``error``."""
    passing = isinstance(error, TransientError)
    return Shown(
        status=ConnectionStatus.DISCONNECTED if passing else ConnectionStatus.ERROR,
        state=CollectorState.FAILED if isinstance(error, ConfigurationError) else CollectorState.BACKING_OFF,
        code=str(error.code),
        reason=f"{error.message} Remedy: {error.remedy}" if error.remedy else error.message,
        health=_health(error.code),
    )


def unusable(report: TestReport) -> DbauditError:
    """Why collecting cannot start, from the report of a test without success."""
    failed = next((d for d in report.diagnoses if d.status is DiagnosisStatus.FAILED), None)
    if failed is None:
        return ConfigurationError(
            ErrorCode.CONNECTION_TEST_FAILED, report.error or "The test was not successful."
        )
    return error_of(failed)


def error_of(failed: Diagnosis) -> DbauditError:
    """What a step of a test that failed means for collecting."""
    if failed.code in _PASSING:
        return TransientError(ErrorCode(failed.code), failed.detail, remedy=failed.remedy)
    if failed.code in set(ErrorCode):
        code = ErrorCode(failed.code)
    elif failed.code.startswith("permission"):
        code = ErrorCode.PERMISSION_MISSING
    else:
        code = ErrorCode.AUDIT_SOURCE_MISSING
    return ConfigurationError(code, failed.detail, remedy=failed.remedy)


def _health(code: ErrorCode) -> Health:
    unknown, critical = CheckStatus.UNKNOWN, CheckStatus.CRITICAL
    if code in _NOT_OF_THE_DATABASE:
        return Health(measured_at_us=now_us())
    return Health(
        connectivity=CheckStatus.HEALTHY if code in _REACHED else critical,
        permissions=critical if code is ErrorCode.PERMISSION_MISSING else unknown,
        measured_at_us=now_us(),
    )
