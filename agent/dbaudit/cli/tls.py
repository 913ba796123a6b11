"""The certificate of the API, checked before anything starts."""

from __future__ import annotations

import ssl

from dbaudit.configuration import Settings
from dbaudit.core.errors import ConfigurationError, ErrorCode


def check_tls(settings: Settings) -> None:
    """Raise ConfigurationError where certificate and key cannot be used together."""
    if settings.tls_cert is None or settings.tls_key is None:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key, _refuse)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The settings tls_cert and tls_key cannot be used: {error}.",
            remedy="Give a PEM certificate chain and its PEM private key without passphrase.",
        ) from None


def _refuse() -> str:
    raise ValueError("the private key has a passphrase")
