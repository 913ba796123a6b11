"""From native records to events. Pure: it knows the formats and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engine.base import Decoded
from dbaudit.engines.mongodb.audit_log import AuditDecoder
from dbaudit.engines.mongodb.profiled import profiled_event
from dbaudit.engines.mongodb.records import FileBlock, ProfileBlock, RingBlock
from dbaudit.engines.mongodb.server_log import LogDecoder, parse_line, parse_ring_line

_KEPT_BYTES = 64 << 10


def decode(records: Sequence[Any]) -> Decoded:
    """The events of some blocks, in their order, and the records that were not understood."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for block in records:
        if isinstance(block, ProfileBlock):
            _profile(block, events, rejected)
        elif isinstance(block, RingBlock):
            _ring(block, events, rejected)
        elif block.audit:
            _audit(block, events, rejected)
        else:
            _log(block, events, rejected)
    return Decoded(events, rejected)


def _audit(block: FileBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    decoder = AuditDecoder(block.context)
    take = decoder.take
    source, offset = block.source, block.offset
    for line in block.data.split(b"\n"):
        if line and not line.isspace():
            try:
                take(line, f"{source}:{offset}")
            except (RecordError, ValueError, OverflowError) as error:
                rejected.append(_rejected(f"{source}:{offset}", line, error))
        offset += len(line) + 1
    events += decoder.events()


def _log(block: FileBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    decoder = LogDecoder(block.context, block.known)
    source, offset = block.source, block.offset
    for line in block.data.split(b"\n"):
        if line and not line.isspace():
            key = f"{source}:{offset}"
            try:
                decoder.take(parse_line(line), key)
            except (RecordError, ValueError, OverflowError) as error:
                rejected.append(_rejected(key, line, error))
        offset += len(line) + 1
    events += decoder.events()


def _ring(block: RingBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    decoder = LogDecoder(block.context, block.known)
    for number, line in enumerate(block.lines, block.first):
        key = f"{block.source}:{number}"
        try:
            decoder.take(parse_ring_line(line), key)
        except (RecordError, ValueError, OverflowError) as error:
            if line.strip():
                rejected.append(_rejected(key, line.encode("utf-8", "surrogatepass"), error))
    events += decoder.events()


def _profile(block: ProfileBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    for number, document in block.documents:
        try:
            event = profiled_event(block.context, block.database, number, document)
        except (RecordError, ValueError, OverflowError) as error:
            position = f"profile:{block.context.member}:{block.database}:{number}"
            rejected.append(_rejected(position, document, error))
        else:
            if event is not None:
                events.append(event)


def _rejected(position: str, raw: bytes, error: Exception) -> Rejected:
    reason = error.message if isinstance(error, RecordError) else "a record of an unknown form"
    return Rejected(position, raw[:_KEPT_BYTES], reason)
