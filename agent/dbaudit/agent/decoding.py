"""From native records to prepared events. Records that an engine cannot decode are stored as rejected."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import msgspec

from dbaudit.agent.calls import EngineCalls
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engine import Decoded, Engine

_NAME_CHARACTERS = 100
_MOST_RECORDS = 1 << 40

Prepare = Callable[[list[AuditEvent]], list[AuditEvent]]
"""Leaves out events that are not wanted, protects the others, and returns them."""


def decode(
    engine: Engine,
    calls: EngineCalls,
    records: Sequence[Any],
    prepare: Prepare,
    cursor: Mapping[str, Any] | None,
    shared: Decoded | None = None,
) -> Decoded:
    """The prepared events of ``records``, and the records that could not be decoded.

    If the engine or the preparation fails, each record is tried by itself, so that only those at fault are
    rejected. ``cursor`` is where the records were read: with the index in the chunk it is a record's
    permanent key. ``shared`` is what the records were decoded to already, for other members too: its events
    are copied.
    """
    if not records:
        return Decoded([])
    with calls.watched("decode"):
        try:
            if shared is not None:
                return _kept(
                    Decoded(list(map(copy, shared.events)), shared.rejected, shared.left_out), prepare
                )
            return _prepared(engine, records, prepare)
        except BaseException as error:  # noqa: BLE001  # a plugin's code: it fails for itself
            calls.log_failure("decode", error)
        return _one_by_one(engine, records, prepare, chunk_name(cursor))


def chunk_name(cursor: Mapping[str, Any] | None) -> str:
    """A short name for what is read at ``cursor``, the same whenever it is read again."""
    return hashlib.sha256(msgspec.json.encode(cursor, order="sorted")).hexdigest()[:16]


def _one_by_one(engine: Engine, records: Sequence[Any], prepare: Prepare, chunk: str) -> Decoded:
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    left_out: Counter[str] = Counter()
    for place, record in enumerate(records):
        try:
            decoded = _prepared(engine, [record], prepare)
        except BaseException as error:  # noqa: BLE001  # a plugin's code: the record is rejected
            reason = f"the decoder failed: {type(error).__name__}"
            rejected.append(Rejected(f"undecoded:{chunk}:{place}", _bytes_of(record), reason))
        else:
            events.extend(decoded.events)
            rejected.extend(decoded.rejected)
            left_out.update(decoded.left_out)
    return Decoded(events, rejected, left_out)


def _prepared(engine: Engine, records: Sequence[Any], prepare: Prepare) -> Decoded:
    return _kept(engine.decode(records), prepare)


def _kept(decoded: Decoded, prepare: Prepare) -> Decoded:
    events = prepare(decoded.events)
    if events is decoded.events and not decoded.left_out:
        return decoded
    return Decoded(events, decoded.rejected, counted(decoded.left_out))


def counted(left_out: Mapping[Any, Any]) -> dict[str, int]:
    """What a decoder says it left out, as far as the state can count it.

    Raises TypeError or ValueError for anything but names and numbers of records.
    """
    counts: Counter[str] = Counter()
    for name, records in left_out.items():
        if not isinstance(records, int) or isinstance(records, bool) or not isinstance(name, str):
            raise TypeError("what is left out is counted by names")
        if not 0 <= records < _MOST_RECORDS:
            raise ValueError("no number of records")
        counts["".join(c if c.isprintable() else "?" for c in name[:_NAME_CHARACTERS])] += records
    return dict(counts)


def _bytes_of(record: Any) -> bytes:
    if isinstance(record, bytes):
        return record
    try:
        return msgspec.json.encode(record, enc_hook=repr)
    except Exception:  # noqa: BLE001  # a plugin's type: there may be no way to show it
        return f"<{type(record).__name__}>".encode()
