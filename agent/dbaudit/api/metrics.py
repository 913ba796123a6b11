"""`/metrics`: figures for Prometheus, of the requests of this process and of the state."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterator

import prometheus_client
from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from dbaudit.api.deliveries import delivery_figures
from dbaudit.api.gate import Call, Gate
from dbaudit.core.clock import now_us
from dbaudit.core.database import ConnectionStatus
from dbaudit.state import State
from dbaudit.state.deliveries import DeliveryState

_MICROSECONDS = 1_000_000
_Family = CounterMetricFamily | GaugeMetricFamily


class RequestFigures:
    """Counts and times the requests of this process, in ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "dbaudit_http_requests_total",
            "Requests by operation and status; the operation is empty for unknown paths.",
            ("operation", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "dbaudit_http_request_duration_seconds",
            "Time from the request to its answer, by operation.",
            ("operation",),
            registry=registry,
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def record(self, operation_id: str, status: int, duration_seconds: float) -> None:
        """One request was answered."""
        try:
            requests, seconds = self._known[operation_id, status]
        except KeyError:
            requests = self._requests.labels(operation_id, str(status))
            seconds = self._seconds.labels(operation_id)
            self._known[operation_id, status] = (requests, seconds)
        requests.inc()
        seconds.observe(duration_seconds)


class StateFigures(Collector):
    """Reads the figures of the state whenever they are asked for."""

    def __init__(self, state: State) -> None:
        self._state = state

    def describe(self) -> list[_Family]:
        """Nothing: the figures are read only when they are requested."""
        return []

    def collect(self) -> Iterator[_Family]:
        """The figures now."""
        now = now_us()
        yield from self._of_databases()
        yield from self._of_collectors(now)
        yield from self._of_deliveries()
        ages = GaugeMetricFamily(
            "dbaudit_node_heartbeat_age_seconds", "Seconds since an agent's last heartbeat.", labels=("node",)
        )
        for node in self._state.nodes.all():
            ages.add_metric((node.id,), (now - node.heartbeat_at_us) / _MICROSECONDS)
        yield ages

    def _of_databases(self) -> Iterator[_Family]:
        by_status = Count(database.status for database in self._state.databases.all())
        family = GaugeMetricFamily(
            "dbaudit_databases", "Monitored databases by connection status.", labels=("status",)
        )
        for status in ConnectionStatus:
            family.add_metric((status.value,), by_status[status])
        yield family

    def _of_collectors(self, now: int) -> Iterator[_Family]:
        labels = ("database_id",)
        stored = CounterMetricFamily("dbaudit_events_stored", "Events stored.", labels=labels)
        gaps = CounterMetricFamily("dbaudit_gaps", "Losses that the source caused.", labels=labels)
        rejected = CounterMetricFamily(
            "dbaudit_rejected_records", "Records that could not be understood.", labels=labels
        )
        left_out = CounterMetricFamily(
            "dbaudit_left_out_records",
            "Records of classes that make no event.",
            labels=("database_id", "class"),
        )
        lag = GaugeMetricFamily(
            "dbaudit_collector_lag_seconds", "Seconds since the collector last reported.", labels=labels
        )
        latest = GaugeMetricFamily(
            "dbaudit_last_event_timestamp_seconds",
            "When the latest event happened, Unix time.",
            labels=labels,
        )
        for collector in self._state.collectors.all():
            name = (collector.database_id,)
            stored.add_metric(name, collector.events_total)
            gaps.add_metric(name, collector.gaps_total)
            rejected.add_metric(name, collector.rejected_total)
            for record_class, records in collector.left_out.items():
                left_out.add_metric((collector.database_id, record_class), records)
            if collector.heartbeat_at_us is not None:
                lag.add_metric(name, (now - collector.heartbeat_at_us) / _MICROSECONDS)
            if collector.last_event_time_us is not None:
                latest.add_metric(name, collector.last_event_time_us / _MICROSECONDS)
        yield from (stored, gaps, rejected, left_out, lag, latest)

    def _of_deliveries(self) -> Iterator[_Family]:
        labels = ("database_id",)
        name = "dbaudit_db_conns"
        sent = CounterMetricFamily(f"{name}_sent", "Connection events that have arrived.", labels=labels)
        reconnects = CounterMetricFamily(
            f"{name}_reconnects", "Connections to the listener that were made again.", labels=labels
        )
        expired = CounterMetricFamily(
            f"{name}_expired", "Connection events whose retention ended before they were sent.", labels=labels
        )
        pending = GaugeMetricFamily(
            f"{name}_pending", "Connection events that wait to be sent.", labels=labels
        )
        oldest = GaugeMetricFamily(
            f"{name}_oldest_unsent_seconds", "Seconds since the first of them happened.", labels=labels
        )
        connected = GaugeMetricFamily(
            f"{name}_connected", "Whether the listener is connected: 1, or 0.", labels=labels
        )
        for figures in delivery_figures(self._state):
            label = (figures.delivery.database_id,)
            connected.add_metric(label, figures.state is DeliveryState.CONNECTED)
            sent.add_metric(label, figures.delivery.sent_total)
            reconnects.add_metric(label, figures.delivery.reconnects_total)
            expired.add_metric(label, figures.delivery.expired_total)
            pending.add_metric(label, figures.pending)
            oldest.add_metric(label, figures.oldest_unsent_seconds)
        yield from (connected, sent, reconnects, expired, pending, oldest)


def metrics_blueprint(gate: Gate, registry: CollectorRegistry) -> Blueprint:
    """The operation that shows ``registry``."""
    blueprint = Blueprint("metrics", __name__)

    def metrics(call: Call) -> Response:
        return Response(generate_latest(registry), content_type=prometheus_client.CONTENT_TYPE_LATEST)

    gate.bind(blueprint, {"get_metrics": metrics})
    return blueprint
