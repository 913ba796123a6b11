"""The state of sending connection events, and what waits to be sent."""

from __future__ import annotations

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.state import State
from dbaudit.state.deliveries import Delivery, DeliveryState


class DeliveryFigures(msgspec.Struct, frozen=True):
    """The sending of one database: how many events wait, and how many seconds ago the first happened.

    ``node`` is the name of the live agent that sends, None if there is none; ``state`` takes that into
    account.
    """

    delivery: Delivery
    node: str | None
    state: DeliveryState
    pending: int
    oldest_unsent_seconds: float


def delivery_figures(state: State) -> list[DeliveryFigures]:
    """Those of every database that is switched on, in the order of creation."""
    found = state.deliveries.all()
    backlogs = state.events.backlogs({delivery.database_no: delivery.sent_seq for delivery in found})
    alive = {node.id: node.name for node in state.nodes.all(alive_only=True)}
    now = now_us()
    figures = []
    for delivery in found:
        backlog = backlogs[delivery.database_no]
        oldest = now if backlog.oldest_time_us is None else backlog.oldest_time_us
        # The clock of a database server may be ahead of ours.
        seconds = max(0, now - oldest) / 1_000_000
        node = alive.get(delivery.node_id or "")
        shown = DeliveryState.WAITING if node is None else delivery.state
        figures.append(DeliveryFigures(delivery, node, shown, backlog.events, seconds))
    return figures
