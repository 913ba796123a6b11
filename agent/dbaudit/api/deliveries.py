"""How the sending of connection events stands, with what waits to be sent."""

from __future__ import annotations

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.state import State
from dbaudit.state.deliveries import Delivery


class DeliveryFigures(msgspec.Struct, frozen=True):
    """The sending of one database: how many events wait, and how many seconds ago the first happened."""

    delivery: Delivery
    pending: int
    oldest_unsent_seconds: float


def delivery_figures(state: State) -> list[DeliveryFigures]:
    """Those of every database that is switched on, in the order of creation."""
    found = state.deliveries.all()
    backlogs = state.events.backlogs({delivery.database_no: delivery.sent_seq for delivery in found})
    now = now_us()
    figures = []
    for delivery in found:
        backlog = backlogs[delivery.database_no]
        oldest = now if backlog.oldest_time_us is None else backlog.oldest_time_us
        # The clock of a database server may be ahead of ours.
        figures.append(DeliveryFigures(delivery, backlog.events, max(0, now - oldest) / 1_000_000))
    return figures
