"""The state of delivery that users see: written only when it has changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from dbaudit.core.errors import DbauditError
from dbaudit.state.deliveries import DeliveryState, DeliveryStore
from dbaudit.state.nodes import Lease

_log = logging.getLogger(__name__)


class Reports:
    """Of the node ``node_id``, for all databases that share its connection."""

    def __init__(self, store: DeliveryStore, node_id: str) -> None:
        self._store = store
        self._node_id = node_id
        self._shown: tuple[object, ...] = ()

    def show(
        self,
        leases: Sequence[Lease],
        revision: int,
        state: DeliveryState,
        error: DbauditError | None = None,
        reconnects: int = 0,
    ) -> None:
        """Write the state of delivery, and how many connections were made again since the last report."""
        reason = None if error is None else f"{error} Remedy: {error.remedy}" if error.remedy else str(error)
        news = (state, reason, revision, tuple(leases))
        if news == self._shown and not reconnects:
            return
        self._store.report(
            leases,
            state,
            node_id=self._node_id,
            revision=revision,
            error_code=None if error is None else error.code.value,
            error=reason,
            reconnects=reconnects,
        )
        if news[:2] != self._shown[:2]:
            level = logging.INFO if reason is None else logging.WARNING
            _log.log(level, "sending connection events: %s%s", state, f": {reason}" if reason else "")
        self._shown = news
