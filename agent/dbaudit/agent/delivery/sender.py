"""Sends the connection events of the databases that this node holds to the listener of the settings.

It reads from the event store by its own positions and holds up nobody. What the listener has read for sure is
known only where a connection ends in an orderly way (see listener.py). So while more than a window's bytes
are open, the sender closes its direction, waits for the listener to read the rest and close too, and connects
anew; after a connection that broke, everything not confirmed is sent again: at least once, and in order.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from dbaudit.agent.delivery.listener import Listener, unreachable
from dbaudit.agent.delivery.notifications import notification
from dbaudit.agent.delivery.progress import Progress
from dbaudit.agent.delivery.window import Window
from dbaudit.core.db_conns import DbConnsSettings
from dbaudit.core.errors import DbauditError, TransientError
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.state import State
from dbaudit.state.db_conns import DbConns
from dbaudit.state.deliveries import Delivery, DeliveryState
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_EVENTS_A_BATCH = 2000
_LOOK_SECONDS = 0.2
_FAREWELL_SECONDS = 2.0
_PATIENCE_SECONDS = 10.0
SMALLEST_WINDOW_BYTES = 16 * 1024
LARGEST_WINDOW_BYTES = 1024 * 1024


class Sender(threading.Thread):
    """One connection to the listener for all databases of this node.

    ``leases`` gives the leases that the node holds at the moment.
    """

    def __init__(self, state: State, node_id: str, leases: Callable[[], Sequence[Lease]]) -> None:
        super().__init__(name="sender", daemon=True)
        self._state = state
        self._node_id = node_id
        self._leases = leases
        self._stopping = threading.Event()
        self._progress = Progress(state.deliveries)
        self._window = Window()
        self._window_bytes = LARGEST_WINDOW_BYTES
        self._listener: Listener | None = None
        self._present: DbConns | None = None
        self._held: list[tuple[Lease, Delivery]] = []
        self._attempts = 0
        self._was_connected = False
        self._not_before = 0.0
        self._shown: tuple[object, ...] = ()

    def stop(self) -> None:
        """Send no more; what was sent is confirmed where the listener still does so."""
        self._stopping.set()

    def run(self) -> None:
        """Send until stopped."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.EVENTS)
            try:
                busy = self._round()
            except DbauditError as error:
                _log.warning("connection events are not sent: %s", error)
                busy = False
            except Exception as error:  # noqa: BLE001  # the agent outlives every failure
                _log.error("connection events are not sent: %s", safe_traceback(error, ()))
                self._broken()
                busy = False
            if not busy and not self._stopping.is_set():
                self._state.wakeup.wait(Topic.EVENTS, seen, _LOOK_SECONDS)
        with contextlib.suppress(DbauditError):
            self._say_farewell()

    def _round(self) -> bool:
        """Do what there is to do; True when there may be more at once."""
        self._look_at_settings()
        present = self._present
        if present is None or present.settings is None or not self._held:
            self._say_farewell()
            return False
        if self._listener is None and not self._connect(present.settings, present.revision):
            return False
        try:
            busy = self._exchange(present)
        except OSError as error:
            self._broken()
            self._show_failure(present.settings, unreachable(present.settings, error))
            busy = False
        self._progress.save()
        return busy

    def _look_at_settings(self) -> None:
        present = self._state.db_conns.current()
        if self._present is None or present.revision != self._present.revision:
            self._say_farewell()
            self._attempts, self._not_before = 0, 0.0
        self._present = present
        leases = {lease.database_no: lease for lease in self._leases()}
        held = self._state.deliveries.of(list(leases.values()))
        self._held = [(leases[delivery.database_no], delivery) for delivery in held]
        self._progress.keep(self._held)

    def _connect(self, settings: DbConnsSettings, revision: int) -> bool:
        if time.monotonic() < self._not_before:
            return False
        limit = settings.audit_reconnect_max_attempts
        if limit and self._attempts > limit:
            return False
        self._show(DeliveryState.CONNECTING) if not self._shown else None
        try:
            self._listener = Listener(settings)
        except TransientError as error:
            self._attempts += 1
            self._not_before = time.monotonic() + settings.audit_reconnect_interval
            self._show_failure(settings, error)
            return False
        self._window = Window()
        reconnects = 1 if self._was_connected and self._attempts else 0
        self._was_connected = True
        self._attempts = 0
        self._show(DeliveryState.CONNECTED, reconnects=reconnects)
        return True

    def _exchange(self, present: DbConns) -> bool:
        """Send what waits, take note of what has arrived; True when something was sent."""
        listener = self._listener
        if listener is None:
            return False
        if listener.ended():
            self._ended(listener)
            return True
        self._show(DeliveryState.CONNECTED)
        sent = False
        for lease, delivery in self._held:
            events = self._state.events.connections_after(
                lease.database_no, self._progress.next_after(lease), _EVENTS_A_BATCH
            )
            if not events:
                continue
            sent = True
            data = b"".join([notification(delivery, numbered.event) for numbered in events])
            self._window.add(lease, tuple(numbered.seq for numbered in events), len(data))
            self._progress.given(lease, events[-1].seq)
            if not self._send(listener, data, present):
                return True
            if self._window.open_bytes > self._window_bytes:
                self._confirm(listener, present)
                return True
        self._note(listener)
        return sent

    def _send(self, listener: Listener, data: bytes, present: DbConns) -> bool:
        """Send all of ``data``; False when the listener has closed, or something else is to be done first."""
        rest = memoryview(data)
        while rest:
            taken = listener.send(rest, _LOOK_SECONDS)
            rest = rest[taken:]
            if rest and (self._stopping.is_set() or self._changed(present)):
                return False
            if taken == 0:
                self._note(listener)
                self._progress.save()
                if listener.ended():
                    self._ended(listener)
                    return False
        return True

    def _note(self, listener: Listener) -> None:
        taken = listener.taken()
        self._progress.handed(self._window.handed(taken))
        if listener.taken_means_read:
            self._progress.read(self._window.read(taken))

    def _confirm(self, listener: Listener, present: DbConns) -> None:
        """Let the listener read everything: on a socket by waiting, over TCP by ending the connection."""
        if listener.taken_means_read:
            while self._window.open_bytes > self._window_bytes and not self._interrupted(present):
                if listener.ended(_LOOK_SECONDS / 20):
                    self._ended(listener)
                    return
                self._note(listener)
            return
        if listener.finish(0.0) or self._wait_for_end(listener, present):
            self._ended(listener)
            self._window_bytes = min(2 * self._window_bytes, LARGEST_WINDOW_BYTES)

    def _wait_for_end(self, listener: Listener, present: DbConns) -> bool:
        patient_until = time.monotonic() + _PATIENCE_SECONDS
        while not self._interrupted(present):
            if listener.ended(_LOOK_SECONDS):
                return True
            if time.monotonic() > patient_until and listener.drained():
                return True
            self._note(listener)
            self._progress.save()
        return False

    def _interrupted(self, present: DbConns) -> bool:
        return self._stopping.is_set() or self._changed(present)

    def _changed(self, present: DbConns) -> bool:
        return self._state.db_conns.current().revision != present.revision

    def _ended(self, listener: Listener) -> None:
        """The listener has closed in an orderly way: all that its host had taken was read."""
        taken = listener.taken()
        self._progress.handed(self._window.handed(taken))
        read = self._window.read(taken)
        self._progress.read(read)
        self._drop()
        if not read:  # it takes nothing: not again at once
            settings = self._present.settings if self._present else None
            self._attempts += 1
            self._not_before = time.monotonic() + (settings.audit_reconnect_interval if settings else 1)

    def _broken(self) -> None:
        """The connection is gone, with we do not know how much unread."""
        if self._listener is not None:
            self._window_bytes = max(self._window_bytes // 2, SMALLEST_WINDOW_BYTES)
            self._drop()
            self._attempts += 1

    def _drop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        self._listener = None
        self._window = Window()
        self._progress.rewind()

    def _say_farewell(self) -> None:
        """End the connection in an orderly way, so that nothing has to be sent twice."""
        listener = self._listener
        if listener is None:
            return
        with contextlib.suppress(OSError):
            if listener.finish(_FAREWELL_SECONDS):
                self._ended(listener)
        self._drop()
        self._not_before = 0.0
        self._attempts = 0
        self._progress.save()
        self._shown = ()
        self._show(DeliveryState.STOPPED)

    def _show_failure(self, settings: DbConnsSettings, error: TransientError) -> None:
        limit = settings.audit_reconnect_max_attempts
        given_up = bool(limit) and self._attempts > limit
        state = DeliveryState.GIVEN_UP if given_up else DeliveryState.RETRYING
        reason = f"{error} Remedy: {error.remedy}" if error.remedy else str(error)
        self._show(state, code=error.code.value, reason=reason)

    def _show(
        self, state: DeliveryState, *, code: str | None = None, reason: str | None = None, reconnects: int = 0
    ) -> None:
        """Report it for every database of this connection, where it is news."""
        leases = tuple(lease for lease, delivery in self._held)
        revision = self._present.revision if self._present else 0
        news = (state, code, reason, revision, leases)
        if news == self._shown and not reconnects:
            return
        if not self._shown or news[:3] != self._shown[:3]:
            _log.log(
                logging.WARNING if code else logging.INFO,
                "sending connection events: %s%s",
                state.value,
                f": {reason}" if reason else "",
            )
        self._state.deliveries.report(
            leases,
            state,
            node_id=self._node_id,
            revision=revision,
            error_code=code,
            error=reason,
            reconnects=reconnects,
        )
        self._shown = news
