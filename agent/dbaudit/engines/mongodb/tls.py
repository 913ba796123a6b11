"""The TLS options of pymongo, which takes certificates and keys as files only."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from dbaudit.core.database import SslMode, Target
from dbaudit.engine.certificates import authorities_file, check_certificates, in_memory


def tls_options(target: Target, files: ExitStack) -> dict[str, Any]:
    """The options of pymongo for the TLS of a target; their files are there until ``files`` is closed.

    Raises ConfigurationError, pointing at the field, for PEM that cannot be used.
    """
    check_certificates(target)
    if target.ssl_mode is SslMode.DISABLE:
        return {"tls": False}
    options: dict[str, Any] = {"tls": True}
    if target.ssl_mode is SslMode.REQUIRE:
        options["tlsAllowInvalidCertificates"] = True
    else:
        options["tlsCAFile"] = (
            files.enter_context(in_memory(target.ssl_ca)) if target.ssl_ca else authorities_file()
        )
        options["tlsAllowInvalidHostnames"] = target.ssl_mode is SslMode.VERIFY_CA
    if target.ssl_cert and target.ssl_key:
        pem = f"{target.ssl_cert.rstrip()}\n{target.ssl_key.reveal()}"
        options["tlsCertificateKeyFile"] = files.enter_context(in_memory(pem))
    return options
