"""How a step of the test is written down, and how its remedies are worded."""

from __future__ import annotations

import json

from dbaudit.core.report import Diagnosis, DiagnosisStatus


def ok(code: str, detail: str) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def warning(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)


def failed(code: str, detail: str, remedy: str | None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.FAILED, detail, remedy)


def skipped(code: str, because: str) -> Diagnosis:
    """``because`` says what stands in the way, such as ``the audit log is off``."""
    return Diagnosis(code, DiagnosisStatus.SKIPPED, f"Not looked at: {because}.")


def quoted(text: str) -> str:
    """A text as mongosh takes it."""
    return json.dumps(text)


def grant_role(user: str, user_database: str, role: str) -> str:
    """What gives the agent's user a role of the database `admin`, for mongosh."""
    granted = f'[{{ role: {quoted(role)}, db: "admin" }}]'
    return f"db.getSiblingDB({quoted(user_database)}).grantRolesToUser({quoted(user)}, {granted})"
