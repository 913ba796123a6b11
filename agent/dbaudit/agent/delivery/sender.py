"""Sends the connection events of the databases that this node holds to the listener of the settings.

It reads from the event store at its own positions and delays nothing else. What the listener has certainly
read is known only if a connection ends in an orderly way (see listener.py). So when a window of bytes is
unconfirmed, or any bytes are for a minute, the sender closes its direction, waits for the listener to read
the rest and close too, and connects again. After a connection that broke, everything unconfirmed is sent
again: each event at least once, in order.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from dbaudit.agent.delivery.attempts import Attempts
from dbaudit.agent.delivery.channel import Channel
from dbaudit.agent.delivery.connecting import Connecting
from dbaudit.agent.delivery.listener import Listener, broken, failure
from dbaudit.agent.delivery.notifications import notification
from dbaudit.agent.delivery.progress import Progress
from dbaudit.agent.delivery.reports import Reports
from dbaudit.core.db_conns import DbConnsSettings
from dbaudit.core.errors import DbauditError, TransientError
from dbaudit.core.host_limits import HostLimits
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.state import State
from dbaudit.state.db_conns import DbConns
from dbaudit.state.deliveries import Delivery, DeliveryState
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 0.2
_GATHER_SECONDS = 0.02
_LOOK_SECONDS = 1.0
_SAVE_SECONDS = 0.25
_FAREWELL_SECONDS = 2.0
_STEADY_SECONDS = 10.0
_CONFIRM_SECONDS = 60.0
_LONG_PATIENCE_SECONDS = 10.0
_SHORT_PATIENCE_SECONDS = 1.0
_EVENTS_A_BATCH = 2000
_BYTES_AN_EVENT = 160
SMALLEST_WINDOW_BYTES = 256
LARGEST_WINDOW_BYTES = 1024 * 1024


class Sender(threading.Thread):
    """One connection to the listener for all databases of this node.

    ``leases`` gives the leases that the node holds at the moment; what the state says of them counts.
    ``limits`` say where a listener's unix socket may be.
    """

    def __init__(
        self,
        state: State,
        node_id: str,
        leases: Callable[[], Sequence[Lease]],
        limits: HostLimits,
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self._state = state
        self._leases = leases
        self._limits = limits
        self._stopping = threading.Event()
        self._progress = Progress(state.deliveries)
        self._reports = Reports(state.deliveries, node_id)
        self._attempts = Attempts()
        self._present: DbConns | None = None
        self._held: list[tuple[Lease, Delivery]] = []
        self._seen: tuple[object, ...] = ()
        self._look_again = 0.0
        self._save_again = 0.0
        self._connecting: Connecting | None = None
        self._channel: Channel | None = None
        self._failure: TransientError | None = None
        self._standing = False
        self._reconnecting = False
        self._reconnects = 0
        self._window_bytes = LARGEST_WINDOW_BYTES
        self._patience_seconds = _LONG_PATIENCE_SECONDS
        self._first = 0
        self._complaint: str | None = None

    def stop(self) -> None:
        """Send no more; what was sent is confirmed where the listener still does so."""
        self._stopping.set()

    def run(self) -> None:
        """Send until stopped."""
        while not self._stopping.is_set():
            seen = self._state.wakeup.count(Topic.EVENTS)
            busy = False
            try:
                busy = self._round()
                self._complaint = None
            except DbauditError as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001  # the agent outlives every failure
                self._complain(safe_traceback(error, ()))
                self._drop()
                self._look_again = 0.0
            if not busy and self._state.wakeup.wait(Topic.EVENTS, seen, _WAIT_SECONDS):
                self._stopping.wait(_GATHER_SECONDS)
        with contextlib.suppress(DbauditError):
            self._farewell()
            self._show(DeliveryState.STOPPED)

    def _complain(self, complaint: str) -> None:
        if complaint != self._complaint:
            _log.warning("connection events are not sent: %s", complaint)
        self._complaint = complaint

    def _round(self) -> bool:
        """Do one step; True if there may be more to do at once."""
        self._look()
        settings = None if self._present is None else self._present.settings
        if settings is None or not self._held:
            self._farewell()
            return False
        busy = self._connect(settings) if self._channel is None else self._exchange(self._channel, settings)
        if time.monotonic() >= self._save_again:
            self._save()
        self._show(self._delivery_state(settings))
        return busy

    # -- what the state says

    def _look(self) -> None:
        """Read from the state what to send and where: after possible changes, and from time to time."""
        leases = tuple(self._leases())
        counts = [self._state.wakeup.count(topic) for topic in (Topic.DB_CONNS, Topic.DATABASES)]
        seen = (leases, *counts)
        if seen == self._seen and time.monotonic() < self._look_again:
            return
        present = self._state.db_conns.current()
        by_number = {lease.database_no: lease for lease in leases}
        held = [(by_number[found.database_no], found) for found in self._state.deliveries.of(leases)]
        if self._present is None or present.revision != self._present.revision:
            self._farewell()
            self._attempts.reset()
            self._failure = None
        self._present = present
        self._take(held)
        self._seen, self._look_again = seen, time.monotonic() + _LOOK_SECONDS

    def _take(self, held: list[tuple[Lease, Delivery]]) -> None:
        still = {lease for lease, delivery in held}
        gone = {lease for lease, delivery in self._held if lease not in still}
        self._held = held
        self._progress.keep(held)
        if gone and self._channel is not None and gone & self._channel.not_handed():
            # Another node sends it: what waits in our kernel must not arrive after that.
            self._channel.reset()
            self._drop()

    def _save(self) -> None:
        lost = set(self._progress.save())
        if lost:
            self._take([(lease, delivery) for lease, delivery in self._held if lease not in lost])
        self._save_again = time.monotonic() + _SAVE_SECONDS

    def _delivery_state(self, settings: DbConnsSettings) -> DeliveryState:
        if self._failure is not None:
            return DeliveryState.GIVEN_UP if self._attempts.given_up(settings) else DeliveryState.RETRYING
        return DeliveryState.CONNECTED if self._standing else DeliveryState.CONNECTING

    def _show(self, state: DeliveryState) -> None:
        revision = 0 if self._present is None else self._present.revision
        error = None if state is DeliveryState.STOPPED else self._failure
        leases = [lease for lease, delivery in self._held]
        self._reports.show(leases, revision, state, error, self._reconnects)
        self._reconnects = 0

    # -- the connection

    def _connect(self, settings: DbConnsSettings) -> bool:
        if self._connecting is None:
            if not self._attempts.due(settings):
                return False
            self._connecting = Connecting(settings, self._limits)
            self._connecting.start()
        outcome = self._connecting.outcome(_WAIT_SECONDS)
        if outcome is None:
            return True
        self._connecting = None
        if isinstance(outcome, Listener):
            self._channel = Channel(outcome)
            self._standing = True
            self._reconnects += self._reconnecting
            self._reconnecting = False
            return True
        self._attempts.refused(settings)
        self._failure = outcome
        self._reconnecting = True
        return False

    def _exchange(self, channel: Channel, settings: DbConnsSettings) -> bool:
        try:
            return self._advance(channel, settings)
        except OSError as error:
            self._window_bytes = max(self._window_bytes // 4, SMALLEST_WINDOW_BYTES)
            self._lost(channel, settings, broken(settings, error))
            return True

    def _advance(self, channel: Channel, settings: DbConnsSettings) -> bool:
        """One step on the connection: end it, or send something and note what has arrived."""
        if channel.ended(_WAIT_SECONDS if channel.finished else 0.0):
            self._ended(channel, settings)
            return True
        self._note(channel)
        if channel.finished:
            if channel.drained_after(self._patience_seconds):
                self._patience_seconds = _SHORT_PATIENCE_SECONDS
                self._ended(channel, settings)
            return True
        if self._failure is not None and (channel.fruitful or channel.age_seconds() > _LOOK_SECONDS):
            self._failure = None
            self._attempts.reset()
        if not channel.pending and not self._load(channel):
            return self._confirm(channel)
        channel.push(_WAIT_SECONDS)
        return True

    def _load(self, channel: Channel) -> bool:
        """Take the next events, of all databases in turn; False when there is none or no room."""
        room = min(_EVENTS_A_BATCH, (self._window_bytes - channel.open_bytes) // _BYTES_AN_EVENT)
        if room <= 0:
            return False
        after = {lease.database_no: self._progress.next_after(lease) for lease, delivery in self._held}
        waiting = self._state.events.connections_waiting(after)
        turns = [(lease, delivery) for lease, delivery in self._held if lease.database_no in waiting]
        turns.sort(key=lambda turn: (turn[0].database_no < self._first, turn[0].database_no))
        parts: list[tuple[Lease, list[int], list[bytes]]] = []
        for lease, delivery in turns:
            events = self._state.events.connections_after(lease.database_no, after[lease.database_no], room)
            if events:
                lines = [notification(delivery, numbered.event) for numbered in events]
                parts.append((lease, [numbered.seq for numbered in events], lines))
                self._first = lease.database_no + 1
                room -= len(events)
            if room <= 0:
                break
        if not parts:
            return False
        channel.load(parts)
        for part in parts:
            self._progress.given(part[0], part[1][-1])
        return True

    def _confirm(self, channel: Channel) -> bool:
        """With nothing to send: let the listener read everything, where much or old is open."""
        full = channel.open_bytes + _BYTES_AN_EVENT > self._window_bytes
        if channel.confirms_itself:
            return full and not channel.ended(_GATHER_SECONDS / 2)
        if full or channel.open_seconds() > _CONFIRM_SECONDS:
            channel.finish()
            return True
        return False

    def _note(self, channel: Channel) -> None:
        self._progress.handed(channel.handed())
        if channel.confirms_itself:
            read = channel.read()
            self._progress.read(read)
            if read:  # it does get on: what a break made smaller may grow again
                self._window_bytes = min(2 * self._window_bytes, LARGEST_WINDOW_BYTES)

    def _ended(self, channel: Channel, settings: DbConnsSettings) -> None:
        """The connection ended in an orderly way: all that the listener's host had taken was read."""
        self._progress.handed(channel.handed())
        self._progress.read(channel.read())
        if channel.finished and channel.fruitful:
            self._window_bytes = min(2 * self._window_bytes, LARGEST_WINDOW_BYTES)
            self._attempts.reset()
            self._failure = None
            self._drop()
        else:
            self._lost(channel, settings, failure(settings, "closes connections before it has read anything"))

    def _lost(self, channel: Channel, settings: DbConnsSettings, error: TransientError) -> None:
        """The connection ended, and not because we wanted it to."""
        _log.info("the connection to the listener ended: %s", error)
        self._drop()
        self._reconnecting = True
        if channel.fruitful or channel.age_seconds() > _STEADY_SECONDS:
            self._attempts.reset()
        else:
            self._attempts.cut_short(settings)
            self._failure = error

    def _drop(self) -> None:
        if self._connecting is not None:
            self._connecting.abandon()
            self._connecting = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._progress.rewind()

    def _farewell(self) -> None:
        """End the connection in an orderly way, so that nothing has to be sent twice."""
        channel = self._channel
        if channel is not None:
            with contextlib.suppress(OSError):
                if channel.farewell(_FAREWELL_SECONDS):
                    self._progress.handed(channel.handed())
                    self._progress.read(channel.read())
        self._drop()
        self._standing = False
        if channel is not None:
            self._save()
