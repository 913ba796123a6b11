"""Certificates and keys for libpq, which takes them as files only: checked, and never on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError

NOWHERE = "/dev/null/none"
"""A path that cannot exist: libpq looks for its own files in the home directory where it is given none."""

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Fedora
    "/var/lib/ca-certificates/ca-bundle.pem",  # SUSE
)


@contextmanager
def tls_parameters(target: Target) -> Iterator[dict[str, str]]:
    """The parameters of libpq for the TLS of a target; their files are there inside the with block only.

    Raises ConfigurationError, pointing at the field, for PEM that libpq could not use.
    """
    _check(target)
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
                files.enter_context(_in_memory(target.ssl_ca)) if target.ssl_ca else _system_bundle()
            )
        if target.ssl_cert and target.ssl_key and target.ssl_mode is not SslMode.DISABLE:
            parameters["sslcert"] = files.enter_context(_in_memory(target.ssl_cert))
            parameters["sslkey"] = files.enter_context(_in_memory(target.ssl_key.reveal()))
            parameters["sslcertmode"] = "allow"
        yield parameters


@contextmanager
def _in_memory(pem: str) -> Iterator[str]:
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        # libpq refuses a private key that others may read.
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _system_bundle() -> str:
    for bundle in (os.environ.get("SSL_CERT_FILE"), *_SYSTEM_BUNDLES):
        if bundle and Path(bundle).is_file():
            return bundle
    raise _bad(
        "ssl_ca", "is missing, and the agent's host has no certificates of public authorities to check with"
    )


def _check(target: Target) -> None:
    if target.ssl_ca:
        _certificates("ssl_ca", target.ssl_ca)
    if bool(target.ssl_cert) != bool(target.ssl_key):
        missing, given = ("ssl_key", "ssl_cert") if target.ssl_cert else ("ssl_cert", "ssl_key")
        raise _bad(missing, f"is missing: {given} alone cannot be used")
    if target.ssl_cert and target.ssl_key:
        certificate = _certificates("ssl_cert", target.ssl_cert)[0]
        if certificate.public_key() != _private_key(target.ssl_key.reveal()).public_key():
            raise _bad("ssl_key", "is not the private key of the certificate in ssl_cert")


def _certificates(field: str, pem: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        raise _bad(
            field,
            "must be certificates in PEM, each from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----",
        ) from None


def _private_key(pem: str) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise _bad(
            "ssl_key", "is encrypted; give it without a passphrase, it is stored encrypted here"
        ) from None
    except ValueError:
        raise _bad("ssl_key", "must be a private key in PEM, such as -----BEGIN PRIVATE KEY-----") from None


def _bad(field: str, message: str) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.CERTIFICATE_INVALID, f"{field} {message}.", details=[FieldError(f"/{field}", message)]
    )
