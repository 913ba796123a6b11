"""The TLS parameters of libpq, which takes certificates and keys as files only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dbaudit.core.database import SslMode, Target
from dbaudit.engine.certificates import authorities_file, check_certificates, in_memory

NOWHERE = "/dev/null/none"
"""A path that cannot exist: libpq looks for its own files in the home directory where it is given none."""


@contextmanager
def tls_parameters(target: Target) -> Iterator[dict[str, str]]:
    """The parameters of libpq for the TLS of a target; their files are there inside the with block only.

    Raises ConfigurationError, pointing at the field, for PEM that libpq could not use.
    """
    check_certificates(target)
    with ExitStack() as files:
        parameters = {
            "sslmode": target.ssl_mode.value,
            "sslrootcert": NOWHERE,
            "sslcrl": NOWHERE,
            "sslcert": NOWHERE,
            "sslkey": NOWHERE,
            "sslcertmode": "disable",
            "sslpassword": "",
        }
        # With a root certificate `require` would check the server's certificate as `verify-ca` does.
        if target.ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
            parameters["sslrootcert"] = (
                files.enter_context(in_memory(target.ssl_ca)) if target.ssl_ca else authorities_file()
            )
        if target.ssl_cert and target.ssl_key and target.ssl_mode is not SslMode.DISABLE:
            parameters["sslcert"] = files.enter_context(in_memory(target.ssl_cert))
            parameters["sslkey"] = files.enter_context(in_memory(target.ssl_key.reveal()))
            parameters["sslcertmode"] = "allow"
        yield parameters
