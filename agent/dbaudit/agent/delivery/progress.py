"""How far the sending of each database has got, in memory and in the state."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from dbaudit.agent.delivery.window import Batch
from dbaudit.state.deliveries import Delivery, DeliveryStore, Sent
from dbaudit.state.nodes import Lease


class _Reached(msgspec.Struct):
    next_after: int
    sent: int
    confirmed: int
    new_events: int = 0
    changed: bool = False


class Progress:
    """The positions of the databases that this node sends, by their leases."""

    def __init__(self, store: DeliveryStore) -> None:
        self._store = store
        self._reached: dict[Lease, _Reached] = {}

    def keep(self, held: Sequence[tuple[Lease, Delivery]]) -> None:
        """These databases are sent now: new ones start where the state says, others are forgotten."""
        known = self._reached
        self._reached = {
            lease: known.get(lease)
            or _Reached(delivery.confirmed_seq, delivery.sent_seq, delivery.confirmed_seq)
            for lease, delivery in held
        }
        for lease, delivery in held:
            reached = self._reached[lease]
            if delivery.confirmed_seq > reached.next_after:  # switched off and on again: from now on only
                self._reached[lease] = _Reached(
                    delivery.confirmed_seq, delivery.sent_seq, delivery.confirmed_seq
                )

    def next_after(self, lease: Lease) -> int:
        """The number of the event after which reading goes on."""
        return self._reached[lease].next_after

    def given(self, lease: Lease, last_number: int) -> None:
        """Everything up to this number is on its way."""
        self._reached[lease].next_after = last_number

    def handed(self, batches: Iterable[Batch]) -> None:
        """The listener's host has these."""
        for batch in batches:
            reached = self._reached.get(batch.lease)
            if reached is not None and batch.numbers[-1] > reached.sent:
                reached.new_events += len(batch.numbers) - bisect_right(batch.numbers, reached.sent)
                reached.sent = batch.numbers[-1]
                reached.changed = True

    def read(self, batches: Iterable[Batch]) -> None:
        """The listener has read these."""
        for batch in batches:
            reached = self._reached.get(batch.lease)
            if reached is not None and batch.numbers[-1] > reached.confirmed:
                reached.confirmed = batch.numbers[-1]
                reached.changed = True

    def rewind(self) -> None:
        """The connection is gone: whatever is not known to be read is sent again on the next one."""
        for reached in self._reached.values():
            reached.next_after = reached.confirmed

    def save(self) -> list[Lease]:
        """Write it to the state; returns the leases that this node holds no longer."""
        changed = [(lease, reached) for lease, reached in self._reached.items() if reached.changed]
        lost = self._store.advance([Sent(lease, r.sent, r.new_events, r.confirmed) for lease, r in changed])
        for reached in (reached for lease, reached in changed):
            reached.changed, reached.new_events = False, 0
        for lease in lost:
            self._reached.pop(lease, None)
        return lost
