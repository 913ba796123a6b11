"""The certificate authority for the tests' TLS servers and clients is that of the conformance kit."""

from dbaudit.testing.certificates import CertificateAuthority, Credential

__all__ = ["CertificateAuthority", "Credential"]
