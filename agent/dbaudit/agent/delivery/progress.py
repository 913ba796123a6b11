"""How far the sending of each database has got, in memory and in the state."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from dbaudit.agent.delivery.window import Part
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
        kept = {}
        for lease, delivery in held:
            reached = self._reached.get(lease)
            # A database that was switched off and on again has a later start in the state: begin there.
            if reached is None or delivery.confirmed_seq > reached.next_after:
                reached = _Reached(delivery.confirmed_seq, delivery.sent_seq, delivery.confirmed_seq)
            kept[lease] = reached
        self._reached = kept

    def next_after(self, lease: Lease) -> int:
        """The number of the event after which reading resumes."""
        return self._reached[lease].next_after

    def given(self, lease: Lease, last_number: int) -> None:
        """Everything up to this number is on its way."""
        self._reached[lease].next_after = last_number

    def handed(self, parts: Iterable[Part]) -> None:
        """The listener's host has these."""
        for part in parts:
            reached = self._reached.get(part.lease)
            if reached is not None and part.numbers[-1] > reached.sent:
                reached.new_events += len(part.numbers) - bisect_right(part.numbers, reached.sent)
                reached.sent = part.numbers[-1]
                reached.changed = True

    def read(self, parts: Iterable[Part]) -> None:
        """The listener has read these."""
        for part in parts:
            reached = self._reached.get(part.lease)
            if reached is not None and part.numbers[-1] > reached.confirmed:
                reached.confirmed = part.numbers[-1]
                reached.changed = True

    def rewind(self) -> None:
        """The connection is gone: everything unconfirmed is sent again on the next one."""
        for reached in self._reached.values():
            reached.next_after = reached.confirmed

    def save(self) -> list[Lease]:
        """Write it to the state; returns the leases that this node holds no longer."""
        changed = [(lease, reached) for lease, reached in self._reached.items() if reached.changed]
        lost = self._store.advance([Sent(lease, r.sent, r.new_events, r.confirmed) for lease, r in changed])
        for reached in (reached for lease, reached in changed):
            reached.changed, reached.new_events = False, 0
        return lost
