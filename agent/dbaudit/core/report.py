"""What an engine says of a database: the report of a test, and its health."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from dbaudit.core.errors import ErrorCode


class DiagnosisStatus(StrEnum):
    """How one step of a test ended. `skipped`: a step that it depends on failed."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Diagnosis(msgspec.Struct, frozen=True):
    """One step of a test: a stable ``code``, what was found, and the ``remedy`` as the exact statement to
    run.
    """

    code: str
    status: DiagnosisStatus
    detail: str
    remedy: str | None = None


class TestReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report of a connection test.

    ``reachable``: the server was reached and the log-in accepted. ``success``: and every right that
    collecting needs is there. ``latency_ms`` is the median of a few round trips of a trivial statement.
    ``error_code`` and ``error`` say why the server was not reached.
    """

    __test__ = False  # not a test class, whatever its name says to pytest

    reachable: bool
    success: bool
    latency_ms: float | None = None
    version: str | None = None
    permissions: dict[str, bool] = {}
    diagnoses: tuple[Diagnosis, ...] = ()
    audit_source: str | None = None
    error_code: str | None = None
    error: str | None = None

    @property
    def warnings(self) -> list[str]:
        """One line for each diagnosis that wants attention, with its remedy."""
        return [
            f"{d.detail} Remedy: {d.remedy}" if d.remedy else d.detail
            for d in self.diagnoses
            if d.status in (DiagnosisStatus.WARNING, DiagnosisStatus.FAILED)
        ]


def failed_test(code: ErrorCode, message: str, remedy: str | None) -> TestReport:
    """The report of a test that did not come to its end."""
    return TestReport(
        reachable=False,
        success=False,
        error_code=str(code),
        error=message,
        diagnoses=(Diagnosis(str(code), DiagnosisStatus.FAILED, message, remedy),),
    )


class CheckStatus(StrEnum):
    """The value of one health check. `unknown` if the engine cannot measure it."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


LATENCY_WARNING_MS = 250.0
LATENCY_CRITICAL_MS = 1000.0
DISK_WARNING_FREE_RATIO = 0.20
DISK_CRITICAL_FREE_RATIO = 0.10


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The health of one database, measured at ``measured_at_us`` (microseconds since the epoch).

    ``audit_source`` is set by the agent, which sees whether reading makes progress; engines leave it.
    """

    connectivity: CheckStatus = CheckStatus.UNKNOWN
    permissions: CheckStatus = CheckStatus.UNKNOWN
    latency: CheckStatus = CheckStatus.UNKNOWN
    disk_space: CheckStatus = CheckStatus.UNKNOWN
    audit_source: CheckStatus = CheckStatus.UNKNOWN
    latency_ms: float | None = None
    disk_free_ratio: float | None = None
    measured_at_us: int = 0


def judge_latency(latency_ms: float) -> CheckStatus:
    """The check for a measured round trip: warning from 250 ms, critical from 1 s."""
    if latency_ms >= LATENCY_CRITICAL_MS:
        return CheckStatus.CRITICAL
    return CheckStatus.WARNING if latency_ms >= LATENCY_WARNING_MS else CheckStatus.HEALTHY


def judge_disk(free_ratio: float) -> CheckStatus:
    """The check for the free share (0 to 1) of the disk: warning below 20 %, critical below 10 %."""
    if free_ratio < DISK_CRITICAL_FREE_RATIO:
        return CheckStatus.CRITICAL
    return CheckStatus.WARNING if free_ratio < DISK_WARNING_FREE_RATIO else CheckStatus.HEALTHY
