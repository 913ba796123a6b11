"""From native records to events: pure functions, which know only the formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from dbaudit.core.errors import RecordError
from dbaudit.core.event import Rejected
from dbaudit.engine.base import Decoded
from dbaudit.engines.mongodb.audit_log import AuditDecoder
from dbaudit.engines.mongodb.profiled import profiled_event
from dbaudit.engines.mongodb.records import FileBlock, ProfileBlock, RingBlock
from dbaudit.engines.mongodb.server_log import LogDecoder, parse_line, parse_ring_line

_KEPT_BYTES = 64 << 10


def decode(records: Sequence[Any]) -> Decoded:
    """The events of some blocks, in their order, and the records that were not understood."""
    found = Decoded([], [], Counter())
    for block in records:
        if isinstance(block, ProfileBlock):
            _profile(block, found)
        elif isinstance(block, RingBlock):
            _ring(block, found)
        elif block.audit:
            _audit(block, found)
        else:
            _log(block, found)
    return found


def _audit(block: FileBlock, found: Decoded) -> None:
    decoder = AuditDecoder(block.context, found.left_out)
    take = decoder.take
    source, offset = block.source, block.offset
    for line in block.data.split(b"\n"):
        if line and not line.isspace():
            try:
                take(line, f"{source}:{offset}")
            except (RecordError, ValueError, OverflowError) as error:
                found.rejected.append(_rejected(f"{source}:{offset}", line, error))
        offset += len(line) + 1
    found.events.extend(decoder.events())


def _log(block: FileBlock, found: Decoded) -> None:
    decoder = LogDecoder(block.context, block.known, found.left_out)
    source, offset = block.source, block.offset
    for line in block.data.split(b"\n"):
        if line and not line.isspace():
            key = f"{source}:{offset}"
            try:
                decoder.take(parse_line(line), key)
            except (RecordError, ValueError, OverflowError) as error:
                found.rejected.append(_rejected(key, line, error))
        offset += len(line) + 1
    found.events.extend(decoder.events())


def _ring(block: RingBlock, found: Decoded) -> None:
    decoder = LogDecoder(block.context, block.known, found.left_out)
    for number, line in enumerate(block.lines, block.first):
        key = f"{block.source}:{number}"
        try:
            decoder.take(parse_ring_line(line), key)
        except (RecordError, ValueError, OverflowError) as error:
            if line.strip():
                found.rejected.append(_rejected(key, line.encode("utf-8", "surrogatepass"), error))
    found.events.extend(decoder.events())


def _profile(block: ProfileBlock, found: Decoded) -> None:
    for number, document in block.documents:
        try:
            event = profiled_event(block.context, block.database, number, document, found.left_out)
        except (RecordError, ValueError, OverflowError) as error:
            position = f"profile:{block.context.member}:{block.database}:{number}"
            found.rejected.append(_rejected(position, document, error))
        else:
            if event is not None:
                found.events.append(event)


def _rejected(position: str, raw: bytes, error: Exception) -> Rejected:
    reason = error.message if isinstance(error, RecordError) else "a record of an unknown form"
    return Rejected(position, raw[:_KEPT_BYTES], reason)
