"""Audit logs that are not plain JSON: they are refused with a remedy."""

from __future__ import annotations

import re
from pathlib import Path

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import reading

_PACKED = re.compile(rb'"(?:compressionMode|keyStoreIdentifier|auditRecordType)"\s*:')
_LOOKED_AT = 4096


def check(path: Path, limits: HostLimits | None) -> None:
    """Raise ConfigurationError if the beginning of a file shows that it cannot be decoded.

    Does nothing if the file is missing or cannot be opened: reading it reports that.
    """
    try:
        with reading(path, limits) as file:
            beginning = file.read(_LOOKED_AT)
    except OSError:
        return
    if beginning:
        check_beginning(path, beginning)


def check_beginning(path: Path, beginning: bytes) -> None:
    """The same for the first bytes of a file."""
    if beginning[1:4] == b"\0\0\0" or beginning[2:4] == b"\0\0":
        refuse_bson(path)
    if _PACKED.search(beginning.partition(b"\n")[0]):
        raise ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"The audit log {path} is compressed or encrypted, which cannot be read here.",
            remedy="Remove auditLog.compressionMode and auditLog.auditEncryptionKeyIdentifier from the "
            "server's configuration, and restart it.",
        )


def refuse_bson(path: Path) -> None:
    """Raise ConfigurationError: an audit log in BSON cannot be read."""
    raise ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        f"The audit log {path} is in BSON, which cannot be read here.",
        remedy="Set auditLog.format to JSON in the server's configuration, and restart it.",
    )
