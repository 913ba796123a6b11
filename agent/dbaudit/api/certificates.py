"""Whether a text is the PEM that a field asks for, before an agent tries to use it."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import Certificate, load_pem_x509_certificates


def certificate_problem(pem: str) -> str | None:
    """What is wrong with ``pem`` as one or several certificates; None if it is valid."""
    if "PRIVATE KEY-----" in pem:
        return "contains a private key; give certificates alone, because this field is shown to readers"
    try:
        _certificates(pem)
    except ValueError:
        return "is not a PEM certificate (-----BEGIN CERTIFICATE-----, Base64, -----END CERTIFICATE-----)"
    return None


def key_problem(pem: str) -> str | None:
    """What is wrong with ``pem`` as a private key without passphrase; None if it is valid."""
    try:
        load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        return "has a passphrase; remove it (openssl pkey -in KEY -out NEW), the key is stored encrypted here"
    except (ValueError, UnsupportedAlgorithm):
        return "is not a PEM private key (-----BEGIN PRIVATE KEY-----, Base64, -----END PRIVATE KEY-----)"
    return None


def pair_problem(certificate_pem: str, key_pem: str) -> str | None:
    """Whether a sound key belongs to the first of sound certificates."""
    certificate = _certificates(certificate_pem)[0]
    key = load_pem_private_key(key_pem.encode(), password=None)
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        return "does not belong to the certificate in ssl_cert"
    return None


def _certificates(pem: str) -> list[Certificate]:
    certificates = load_pem_x509_certificates(pem.encode())
    if not certificates:
        raise ValueError("no certificate")
    return certificates
