"""What a record of a statement counts: documents, and the locks that show whether it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from dbaudit.core.event import AuditEvent
from dbaudit.engines.mongodb.commands import with_detail
from dbaudit.engines.mongodb.records import Context

_REPLY_BYTES = 45
_REPLY_OF_A_SET_BYTES = 230
"""The size of the reply to an insert that says only how many documents were inserted."""


class Counts(NamedTuple):
    """The documents that a statement returned and changed; None if the record has no such count."""

    returned: int | None
    inserted: int | None
    modified: int | None
    upserted: int | None
    deleted: int | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        upserted = record.get("nUpserted")
        if upserted is None and record.get("upsert") is True:  # up to 4.4
            upserted = 1
        return cls(
            _count(record.get("nreturned")),
            _count(record.get("ninserted")),
            _count(record.get("nModified")),
            _count(upserted),
            _count(record.get("ndeleted")),
        )

    def rows(self) -> int | None:
        """How many documents the statement changed, or else returned."""
        changed = [n for n in (self.inserted, self.modified, self.upserted, self.deleted) if n is not None]
        return sum(changed) if changed else self.returned


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int) and value >= 0 else None


def wrote(locks: object) -> bool | None:
    """Whether a statement wrote, by the locks that it took; None where they are not recorded."""
    whole = locks.get("Global") if isinstance(locks, dict) else None
    taken = whole.get("acquireCount") if isinstance(whole, dict) else None
    return ("w" in taken or "W" in taken) if isinstance(taken, dict) else None


def some_refused(event: AuditEvent, inserted: int | None, reply_bytes: object, context: Context) -> bool:
    """Whether documents of an insert were refused, for example because their key existed already.

    The server logs no error for them: only its reply to the client names it. If nothing was inserted, every
    document was refused. Otherwise a long reply means that some were. In a replica set this is not certain,
    since the server may be a shard, whose replies are longer: then the outcome of ``event`` becomes None.
    """
    if inserted == 0:
        event.detail = with_detail(event.detail, {"reason": _NONE_INSERTED})
        return True
    plain = _REPLY_OF_A_SET_BYTES if context.replica_set else _REPLY_BYTES
    if not isinstance(reply_bytes, int) or reply_bytes <= plain:
        return False
    if context.replica_set:
        event.outcome = None
    event.detail = with_detail(event.detail, {"reason": _MAY_BE_SOME if context.replica_set else _SOME})
    return not context.replica_set


_NONE_INSERTED = "no document was inserted; the server does not record why"
_SOME = "not every document was inserted; the server does not record why"
_MAY_BE_SOME = "some documents may not have been inserted: the reply has more in it than their number"
