"""How a step of the test is written down, and how its remedies are worded."""

from __future__ import annotations

from psycopg import sql

from dbaudit.core.report import Diagnosis, DiagnosisStatus

RELOAD = "SELECT pg_reload_conf();"


def ok(code: str, detail: str) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def warning(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)


def failed(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.FAILED, detail, remedy)


def skipped(code: str, because: str) -> Diagnosis:
    """``because`` says what stands in the way, such as ``pgaudit is not loaded``."""
    return Diagnosis(code, DiagnosisStatus.SKIPPED, f"Not looked at: {because}.")


def set_system(name: str, *values: str) -> str:
    """The statement that changes a setting of the whole server; several values make a list."""
    return f"ALTER SYSTEM SET {name} = {', '.join(sql.Literal(value).as_string() for value in values)};"


def set_and_reload(name: str, *values: str) -> str:
    """The statements that change a setting of the whole server at once."""
    return f"{set_system(name, *values)} {RELOAD}"
