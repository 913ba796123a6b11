"""Keeps the thin driver from encrypting the password with a key that the server knows.

The key is derived from two halves. The client makes its own half as long as the server's, so that one of an
empty half can be computed by everybody. The driver (seen with 26.1.0) takes that; here it is refused.
"""

from __future__ import annotations

import importlib
from typing import Any

from dbaudit.core.errors import ConfigurationError, ErrorCode

_SHORTEST_BYTES = 32
"""That of the verifiers of 12c; those of 11g have 48."""


class ShortSessionKeyError(Exception):
    """The server gave no session key that keeps a password secret."""


def refuse_short_session_keys() -> None:
    """From now on a log-in with a short key raises ShortSessionKeyError before the password is encrypted.

    Raises ConfigurationError for a driver in which this cannot be done.
    """
    driver: Any = importlib.import_module("oracledb.thin_impl")
    decrypt = getattr(driver, "decrypt_cbc", None)
    if decrypt is None:
        raise ConfigurationError(
            ErrorCode.DRIVER_MISSING,
            "This version of python-oracledb cannot be kept from showing the password to a rogue server.",
            remedy="pip install oracledb==26.1.0, or another version that dbaudit was tested with",
        )
    if getattr(decrypt, "refuses_short_keys", False):
        return

    def decrypt_long(key: bytes, encrypted: bytes) -> Any:
        if len(encrypted) < _SHORTEST_BYTES:
            raise ShortSessionKeyError
        return decrypt(key, encrypted)

    decrypt_long.refuses_short_keys = True  # type: ignore[attr-defined]  # an attribute of a function
    driver.decrypt_cbc = decrypt_long
