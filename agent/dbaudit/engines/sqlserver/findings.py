"""How the connection test says what it found."""

from __future__ import annotations

from dbaudit.core.report import Diagnosis, DiagnosisStatus


def ok(code: str, detail: str) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def warning(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)


def failed(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.FAILED, detail, remedy)


def skipped(code: str, because: str) -> Diagnosis:
    """``because`` says what stands in the way, such as ``the right X is missing``."""
    return Diagnosis(code, DiagnosisStatus.SKIPPED, f"Not looked at: {because}.")


def quoted(name: str) -> str:
    """A name as an identifier of Transact-SQL, as QUOTENAME writes it.

    >>> quoted("odd]name")
    '[odd]]name]'
    """
    return f"[{name.replace(']', ']]')}]"
