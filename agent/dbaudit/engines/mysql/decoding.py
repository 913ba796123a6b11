"""Native records of every source, to events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from dbaudit.engine.base import Decoded
from dbaudit.engines.mysql import audit_blocks, error_log
from dbaudit.engines.mysql.audit_blocks import AuditBlock
from dbaudit.engines.mysql.error_log import ErrorLogBlock
from dbaudit.engines.mysql_protocol import general_rows
from dbaudit.engines.mysql_protocol.general_rows import GeneralLogBlock

_DECODERS: dict[type, Callable[[Sequence[Any]], Decoded]] = {
    GeneralLogBlock: general_rows.decode,
    AuditBlock: audit_blocks.decode,
    ErrorLogBlock: error_log.decode,
}


def decode(records: Sequence[Any]) -> Decoded:
    """The events of native records, in their order. Pure."""
    decoded = Decoded([], [], {})
    for kind, alike in groupby(records, key=type):
        part = _DECODERS[kind](list(alike))
        decoded.events.extend(part.events)
        decoded.rejected.extend(part.rejected)
        for name, number in part.left_out.items():
            decoded.left_out[name] = decoded.left_out.get(name, 0) + number
    return decoded
