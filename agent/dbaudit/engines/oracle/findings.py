"""How a step of the test is written down."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis, DiagnosisStatus


def ok(code: str, detail: str) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def warning(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)


def failed(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.FAILED, detail, remedy)


def skipped(code: str, because: str) -> Diagnosis:
    """``because`` says what stands in the way, such as ``the right audit_viewer is missing``."""
    return Diagnosis(code, DiagnosisStatus.SKIPPED, f"Not looked at: {because}.")
