"""The results of the steps of a connection test."""

from __future__ import annotations

from dbaudit.core.database import Target
from dbaudit.core.report import Diagnosis, DiagnosisStatus
from dbaudit.engine.network import is_this_host


def ok(code: str, detail: str) -> Diagnosis:
    """The step ``code`` found nothing wrong."""
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def warning(code: str, detail: str, remedy: str | None) -> Diagnosis:
    """Collecting works, but misses something; ``remedy`` is the statement that helps, or None."""
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)


def failed(code: str, detail: str, remedy: str | None) -> Diagnosis:
    """Collecting does not work before ``remedy`` was done."""
    return Diagnosis(code, DiagnosisStatus.FAILED, detail, remedy)


def skipped(code: str, because: str) -> Diagnosis:
    """The step ``code`` was not done; ``because`` is the reason, such as ``general_log is off``."""
    return Diagnosis(code, DiagnosisStatus.SKIPPED, f"Not looked at: {because}.")


def encryption(target: Target, *, tls_in_use: bool, besides: str = "") -> Diagnosis:
    """The step ``encryption``, the same for every server that the agent logs in to.

    ``besides`` is what the remedy has to say beyond ssl_mode and ssl_ca.
    """
    code = "encryption"
    if tls_in_use:
        return ok(code, f"The connection is encrypted (ssl_mode {target.ssl_mode.value}).")
    if is_this_host(target.host):
        return ok(code, "The connection does not leave this host.")
    return warning(
        code,
        "The connection is not encrypted: the audit records cross the network in clear.",
        f"Set ssl_mode to verify-full, with the authority's certificate in ssl_ca{besides}.",
    )
