"""The agent process: heartbeat, a collector for each database that it holds, connection tests."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import defaultdict

import msgspec

import dbaudit
from dbaudit.agent.backoff import Backoff
from dbaudit.agent.collector import Collector
from dbaudit.agent.connection_tests import ConnectionTests
from dbaudit.agent.delivery import Sender
from dbaudit.agent.marks import Marks
from dbaudit.agent.pace import Pace
from dbaudit.agent.retention import Retention
from dbaudit.agent.settings import AgentSettings
from dbaudit.agent.sharing import SharedReads
from dbaudit.agent.suspects import Suspects
from dbaudit.agent.turns import Turns
from dbaudit.core import db_conns
from dbaudit.core.errors import DbauditError, PluginError
from dbaudit.core.report import failed_test
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.engine.host_access import settled
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.nodes import Lease, Node, engine_capability
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_BEATS_A_LEASE = 3
_MOST_HANGING = 3
"""With so many threads that hang in calls for one database, no further one is started."""
# Chunks are thousands of short-lived objects without cycles: looking through them for cycles is wasted time.
_GARBAGE_THRESHOLD = 100_000


class Agent:
    """One node: it takes its share of the databases and collects them until it is stopped.

    ``marks`` are shared with the earlier processes of this agent. ``died`` says how the last of them ended,
    such as `was ended by SIGSEGV`; None if there was none.
    """

    def __init__(
        self,
        state: State,
        registry: EngineRegistry,
        settings: AgentSettings,
        marks: Marks | None = None,
        died: str | None = None,
    ) -> None:
        self._state = state
        self._marks = marks or Marks()
        if died is not None:
            _log.error("the process of this agent before this one %s\n%s", died, self._marks.crash)
        self._suspects = Suspects(self._marks, died)
        self._held_back: set[str] = set()
        self._pace = Pace(settings.poll_interval_seconds)
        self._turns = Turns()
        self._reads = SharedReads(settings.poll_interval_seconds)
        self._registry = registry
        self._settings = msgspec.structs.replace(settings, host_limits=settled(settings.host_limits))
        self._collectors: dict[str, Collector] = {}
        self._hanging: defaultdict[str, list[Collector]] = defaultdict(list)
        self._not_before: dict[str, float] = {}
        self._leases: tuple[Lease, ...] = ()

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then finish the chunks at hand and give the leases back."""
        gc.set_threshold(_GARBAGE_THRESHOLD, 50, 50)
        node = self._register(stop)
        if node is None:
            return
        _log.info("agent %s (%s) is running", node.id, node.name)
        tests = ConnectionTests(self._state, self._registry, node.id, self._marks, self._settings.host_limits)
        retention = Retention(
            self._state, self._settings.retention_interval_seconds, self._settings.api_event_retention_days
        )
        sender = Sender(self._state, node.id, lambda: self._leases, self._settings.host_limits)
        tests.start()
        retention.start()
        sender.start()
        try:
            while not stop.is_set():
                seen = self._state.wakeup.count(Topic.DATABASES)
                pause_seconds = self._state.nodes.lease_seconds / _BEATS_A_LEASE
                try:
                    leases = self._state.nodes.beat(node)
                    pause_seconds = min(
                        pause_seconds, self._suspects.advance({lease.database_id for lease in leases})
                    )
                    self._hold(node, leases)
                    self._state.collectors.beat([c.pulse() for c in self._collectors.values()])
                except DbauditError as error:
                    _log.warning("the heartbeat failed: %s", error)
                except Exception as error:  # noqa: BLE001  # the agent outlives every failure
                    _log.error("the heartbeat failed: %s", safe_traceback(error, ()))
                self._abandon_hanging()
                self._pause(stop, seen, pause_seconds)
        finally:
            self._shut_down(node, tests, retention, sender)

    def _register(self, stop: threading.Event) -> Node | None:
        """Register this node, trying until the state is available; None if ``stop`` is set before."""
        capabilities = (db_conns.CAPABILITY, *map(engine_capability, self._registry.installed))
        backoff = Backoff(self._settings.backoff_initial_seconds, self._settings.state_retry_max_seconds)
        while not stop.is_set():
            try:
                node = self._state.nodes.register(
                    self._settings.node_name, dbaudit.__version__, capabilities, node_id=self._marks.node_id
                )
                for owner, error in self._suspects.failures.items():
                    self._state.tasks.finish(owner, failed_test(error.code, error.message, error.remedy))
                self._state.tasks.release(node.id)
                self._marks.works_as(node.id)
                return node
            except DbauditError as error:
                _log.warning("this agent cannot be registered: %s", error)
                stop.wait(backoff.next_seconds())
        return None

    def _pause(self, stop: threading.Event, seen: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            self._turns.give_back_late()
            if self._state.wakeup.wait(Topic.DATABASES, seen, min(left, 0.2)):
                return

    def _hold(self, node: Node, leases: list[Lease]) -> None:
        self._leases = tuple(leases)
        self._pace.databases = len(leases)
        held = {lease.database_id: lease for lease in leases}
        for database_id, collector in list(self._collectors.items()):
            if held.get(database_id) != collector.lease:
                collector.stop()
                del self._collectors[database_id]
                self._not_before.pop(database_id, None)
            elif not collector.is_alive():
                del self._collectors[database_id]
        for database_id, lease in held.items():
            if database_id in self._collectors:
                continue
            if not self._suspects.may_start(database_id):
                self._hold_back(lease, node)
            elif self._may_start(database_id):
                self._held_back.discard(database_id)
                self._collectors[database_id] = collector = self._collector(lease, node)
                collector.start()

    def _collector(self, lease: Lease, node: Node) -> Collector:
        return Collector(
            self._state,
            self._registry,
            self._settings,
            lease=lease,
            node_id=node.id,
            version=dbaudit.__version__,
            marks=self._marks,
            pace=self._pace,
            turns=self._turns,
            reads=self._reads,
        )

    def _hold_back(self, lease: Lease, node: Node) -> None:
        """Show, once, why the database is not collected now."""
        if lease.database_id not in self._held_back:
            self._held_back.add(lease.database_id)
            self._collector(lease, node).hold_back(*self._suspects.explanation(lease.database_id))

    def _may_start(self, database_id: str) -> bool:
        if time.monotonic() < self._not_before.get(database_id, 0.0):
            return False
        alive = [c for c in self._hanging.pop(database_id, []) if c.is_alive()]
        if alive:
            self._hanging[database_id] = alive
        return len(alive) < _MOST_HANGING

    def _abandon_hanging(self) -> None:
        """Abandon collectors whose call does not return. Their thread cannot be ended, so another thread
        tries again, a few times.
        """
        delay = self._settings.misconfigured_retry_seconds
        for database_id, collector in list(self._collectors.items()):
            call = collector.stuck_in()
            if call is None:
                continue
            del self._collectors[database_id]
            self._hanging[database_id].append(collector)
            self._not_before[database_id] = time.monotonic() + delay
            last = len(self._hanging[database_id]) >= _MOST_HANGING
            collector.abandon(
                PluginError(
                    f"The engine has not returned from {call} for {self._settings.call_seconds:g} seconds.",
                    remedy="Restart the agent, and report this to the author of the engine."
                    if last
                    else None,
                ),
                delay,
            )

    def _shut_down(self, node: Node, tests: ConnectionTests, retention: Retention, sender: Sender) -> None:
        threads: list[Collector | Retention | ConnectionTests | Sender] = [
            *self._collectors.values(),
            tests,
            retention,
            sender,
        ]
        for thread in threads:
            thread.stop()
        deadline = time.monotonic() + self._settings.shutdown_seconds
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        hanging = [thread.name for thread in threads if thread.is_alive()]
        if hanging:
            _log.warning("not waiting any longer for %s; nothing is lost", ", ".join(hanging))
        try:
            self._state.nodes.leave(node)
        except DbauditError as error:
            _log.warning("the leases cannot be given back and will lapse: %s", error)
        self._marks.clear()
        _log.info("agent %s has stopped", node.id)
