"""Events that the state refuses: a wrong character is replaced; an event with other faults is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import AuditEvent, Rejected

_INTEGER_BITS = {"time_us": 63, "source_port": 31, "rows_affected": 63}
_REPLACEMENT = "\ufffd"


def mend(
    events: Sequence[AuditEvent], rejected: Sequence[Rejected], chunk: str
) -> tuple[dict[int, AuditEvent], list[Rejected]]:
    """The events, by their index, and the rejected records of a chunk in a form that every state can store.

    Characters that no state takes (NUL, halves of surrogate pairs) become U+FFFD. An event with a value of
    another type than promised is stored as a rejected record with the position ``unstorable:CHUNK:PLACE``.
    """
    good: dict[int, AuditEvent] = {}
    aside = [_mended_record(record) for record in rejected]
    for place, event in enumerate(events):
        try:
            mended = typed.convert(_mended(msgspec.to_builtins(event)), AuditEvent)
            _check_integers(mended)
        except Exception as error:  # noqa: BLE001  # a plugin's value: whatever it is, the other events are kept
            raw = repr(event).encode("utf-8", "replace")
            reason = f"the event cannot be stored: {type(error).__name__}"
            aside.append(Rejected(f"unstorable:{chunk}:{place}", raw, reason))
        else:
            good[place] = mended
    return good, aside


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", _REPLACEMENT).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(item) for item in value]
    return value


def _mended_record(record: Rejected) -> Rejected:
    return Rejected(_mended(str(record.position)), bytes(record.raw), _mended(str(record.reason)))


def _check_integers(event: AuditEvent) -> None:
    for field, bits in _INTEGER_BITS.items():
        value = getattr(event, field)
        if value is not None and not -(1 << bits) <= value < 1 << bits:
            raise OverflowError(field)
