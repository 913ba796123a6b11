"""From native records to protected events: what an engine cannot decode is put aside, record by record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from dbaudit.agent.calls import EngineCalls
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engine import Decoded, Engine

Protect = Callable[[Sequence[AuditEvent]], None]


def decode(
    engine: Engine,
    calls: EngineCalls,
    records: Sequence[Any],
    protect: Protect,
    cursor: Mapping[str, Any] | None,
) -> Decoded:
    """The protected events of ``records``, and the records that could not be decoded.

    Where the engine or the protection fails, each record is tried by itself, so that only those at fault are
    put aside. ``cursor`` is where the records were read: with the place in the chunk it names a record for
    ever.
    """
    if not records:
        return Decoded([])
    with calls.watched("decode"):
        try:
            return _protected(engine, records, protect)
        except BaseException as error:  # noqa: BLE001  # a plugin's code: it fails for itself
            calls.log_failure("decode", error)
        return _one_by_one(engine, records, protect, chunk_name(cursor))


def chunk_name(cursor: Mapping[str, Any] | None) -> str:
    """A short name for what is read at ``cursor``, the same whenever it is read again."""
    return hashlib.sha256(msgspec.json.encode(cursor, order="sorted")).hexdigest()[:16]


def _one_by_one(engine: Engine, records: Sequence[Any], protect: Protect, chunk: str) -> Decoded:
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for place, record in enumerate(records):
        try:
            decoded = _protected(engine, [record], protect)
        except BaseException as error:  # noqa: BLE001  # a plugin's code: the record is put aside
            reason = f"the decoder failed: {type(error).__name__}"
            rejected.append(Rejected(f"undecoded:{chunk}:{place}", _bytes_of(record), reason))
        else:
            events.extend(decoded.events)
            rejected.extend(decoded.rejected)
    return Decoded(events, rejected)


def _protected(engine: Engine, records: Sequence[Any], protect: Protect) -> Decoded:
    decoded = engine.decode(records)
    protect(decoded.events)
    return decoded


def _bytes_of(record: Any) -> bytes:
    if isinstance(record, bytes):
        return record
    try:
        return msgspec.json.encode(record, enc_hook=repr)
    except Exception:  # noqa: BLE001  # a plugin's type: it may be written down in no form at all
        return f"<{type(record).__name__}>".encode()
