"""Certificates and keys of a target, for the drivers: checked, and never unencrypted on disk."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Red Hat, Fedora
    "/var/lib/ca-certificates/ca-bundle.pem",  # SUSE
)


def check_certificates(target: Target) -> None:
    """Raise ConfigurationError, pointing at the field, for PEM that no driver could use."""
    if target.ssl_ca:
        _certificates("ssl_ca", target.ssl_ca)
    if bool(target.ssl_cert) != bool(target.ssl_key):
        missing, given = ("ssl_key", "ssl_cert") if target.ssl_cert else ("ssl_cert", "ssl_key")
        raise _bad(missing, f"is missing: {given} alone cannot be used")
    if target.ssl_cert and target.ssl_key:
        certificate = _certificates("ssl_cert", target.ssl_cert)[0]
        if certificate.public_key() != _private_key(target.ssl_key.reveal()).public_key():
            raise _bad("ssl_key", "is not the private key of the certificate in ssl_cert")


@contextmanager
def in_memory(pem: str) -> Iterator[str]:
    """The path of a file with ``pem``, for drivers that take files only; there inside the with block only."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        # libpq, for one, refuses a private key that others may read.
        os.fchmod(descriptor, 0o600)
        with open(descriptor, "wb", closefd=False) as file:
            file.write(pem.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def authorities_file() -> str:
    """The path of the system's certificates of public authorities.

    Raises ConfigurationError for ssl_ca if the system has none.
    """
    for bundle in (os.environ.get("SSL_CERT_FILE"), *_SYSTEM_BUNDLES):
        if bundle and Path(bundle).is_file():
            return bundle
    raise _bad(
        "ssl_ca", "is missing, and the agent's host has no certificates of public authorities to check with"
    )


def client_context(target: Target) -> ssl.SSLContext | None:
    """The TLS context for the four modes of ``target``; None for ``disable``.

    Raises ConfigurationError, pointing at the field, for PEM that cannot be used.
    """
    check_certificates(target)
    if target.ssl_mode is SslMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Certificates that servers make for themselves often lack extensions that the strict check wants.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = target.ssl_mode is SslMode.VERIFY_FULL
    if target.ssl_mode is SslMode.REQUIRE:
        context.verify_mode = ssl.CERT_NONE
    elif target.ssl_ca:
        context.load_verify_locations(cadata=target.ssl_ca)
    else:
        context.load_verify_locations(authorities_file())
    if target.ssl_cert and target.ssl_key:
        with in_memory(target.ssl_cert) as certificate, in_memory(target.ssl_key.reveal()) as key:
            context.load_cert_chain(certificate, key)
    return context


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
