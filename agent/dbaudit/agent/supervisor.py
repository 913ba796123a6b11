"""The agent process: heartbeat, a collector for each database that it holds, connection tests."""

from __future__ import annotations

import gc
import logging
import threading
import time

import dbaudit
from dbaudit.agent.collector import Collector
from dbaudit.agent.connection_tests import ConnectionTests
from dbaudit.agent.retention import Retention
from dbaudit.agent.settings import AgentSettings
from dbaudit.core.errors import DbauditError
from dbaudit.engine.manager import EngineRegistry
from dbaudit.state import State
from dbaudit.state.nodes import Lease, Node
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_BEATS_A_LEASE = 3
# Chunks are thousands of short-lived objects without cycles: looking through them for cycles is wasted time.
_GARBAGE_THRESHOLD = 100_000


class Agent:
    """One node: it takes its share of the databases and collects them until it is told to stop."""

    def __init__(self, state: State, registry: EngineRegistry, settings: AgentSettings) -> None:
        self._state = state
        self._registry = registry
        self._settings = settings
        self._collectors: dict[str, tuple[Lease, Collector]] = {}

    def run(self, stop: threading.Event) -> None:
        """Work until ``stop`` is set; then finish the chunks at hand and give the leases back."""
        gc.set_threshold(_GARBAGE_THRESHOLD, 50, 50)
        capabilities = tuple(f"engine:{name}" for name in self._registry.installed)
        node = self._state.nodes.register(self._settings.node_name, dbaudit.__version__, capabilities)
        _log.info("agent %s (%s) is running", node.id, node.name)
        tests = ConnectionTests(self._state, self._registry, node.id)
        retention = Retention(self._state, self._settings.retention_interval_seconds)
        tests.start()
        retention.start()
        pause_seconds = self._state.nodes.lease_seconds / _BEATS_A_LEASE
        try:
            while not stop.is_set():
                seen = self._state.wakeup.count(Topic.DATABASES)
                try:
                    self._hold(node, self._state.nodes.beat(node))
                except DbauditError as error:
                    _log.warning("the heartbeat failed: %s", error)
                self._pause(stop, seen, pause_seconds)
        finally:
            tests.stop()
            retention.stop()
            self._shut_down(node)

    def _pause(self, stop: threading.Event, seen: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
            if self._state.wakeup.wait(Topic.DATABASES, seen, min(left, 0.2)):
                return

    def _hold(self, node: Node, leases: list[Lease]) -> None:
        held = {lease.database_id: lease for lease in leases}
        for database_id, (lease, collector) in list(self._collectors.items()):
            if held.get(database_id) != lease:
                collector.stop()
                del self._collectors[database_id]
            elif not collector.is_alive():
                del self._collectors[database_id]
        for database_id, lease in held.items():
            if database_id not in self._collectors:
                collector = Collector(
                    self._state,
                    self._registry,
                    self._settings,
                    lease=lease,
                    node_id=node.id,
                    version=dbaudit.__version__,
                )
                self._collectors[database_id] = (lease, collector)
                collector.start()

    def _shut_down(self, node: Node) -> None:
        collectors = [collector for lease, collector in self._collectors.values()]
        for collector in collectors:
            collector.stop()
        deadline = time.monotonic() + self._settings.shutdown_seconds
        for collector in collectors:
            collector.join(max(0.0, deadline - time.monotonic()))
        hanging = [collector.name for collector in collectors if collector.is_alive()]
        if hanging:
            _log.warning("not waiting any longer for %s; nothing is lost", ", ".join(hanging))
        try:
            self._state.nodes.leave(node)
        except DbauditError as error:
            _log.warning("the leases cannot be given back and will lapse: %s", error)
        _log.info("agent %s has stopped", node.id)
