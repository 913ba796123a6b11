"""The connection test: whether the agent can listen, who sends, and what to run on the cluster."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from dbaudit.core.clock import format_us
from dbaudit.core.database import SslMode, Target
from dbaudit.core.db_conns import AuditProtocol
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engines.redis_enterprise.listener import Status, is_loopback
from dbaudit.engines.redis_enterprise.options import Options
from dbaudit.engines.redis_enterprise.places import Place

_ANY_HOST = ("0.0.0.0", "::")  # noqa: S104  # recognised, not bound


def test(target: Target, options: Options, place: Place, status: Status | None) -> TestReport:
    """``status`` is how the listener stands; None where it has been closed meanwhile."""
    diagnoses = tuple(_diagnose(target, options, place, status))
    return TestReport(
        reachable=True,
        success=True,
        permissions={"listen": True},
        diagnoses=diagnoses,
        audit_source=f"db_conns notifications over {options.protocol.value}, on {place}",
    )


def _diagnose(target: Target, options: Options, place: Place, status: Status | None) -> Iterator[Diagnosis]:
    yield _ok("listen", f"The agent can listen on {place}.")
    yield _senders(options, place, status)
    if status is not None:
        yield _records(status)
        yield from _turned_away(options, status)
    yield from _allowed(options, place)
    yield _encryption(target, place)
    if target.capture_results:
        yield _warning("row_counts", "Only `command` notifications of Redis Enterprise 8.2 have row counts.")


def _senders(options: Options, place: Place, status: Status | None) -> Diagnosis:
    code = "senders"
    if status is not None and status.senders:
        shown = ", ".join(f"{sender} ({number})" for sender, number in sorted(status.senders.items())[:20])
        return _ok(code, f"Connections to the agent, by address: {shown}.")
    before = status is not None and status.accepted_total
    detail = "No node of the cluster is connected now." if before else "No node of the cluster has connected."
    return _warning(code, detail, configure_cluster(options, place))


def configure_cluster(options: Options, place: Place) -> str:
    """What to run so that a cluster sends to ``place``."""
    settings: dict[str, str | int]
    if options.protocol is AuditProtocol.LOCAL:
        settings = {"audit_protocol": "local", "audit_address": str(place.path)}
    else:
        host = "ADDRESS_OF_THE_AGENT" if place.host in _ANY_HOST else place.host
        settings = {"audit_protocol": "TCP", "audit_address": host, "audit_port": place.port}
    settings |= {"audit_reconnect_interval": 1, "audit_reconnect_max_attempts": 0}
    body = shlex.quote(json.dumps(settings))
    words = " ".join(f"{name} {shlex.quote(str(value))}" for name, value in settings.items())
    return (
        "curl -k -u USER -X PUT -H 'Content-Type: application/json' "
        f"https://CLUSTER:9443/v1/cluster/auditing/db_conns -d {body} "
        f"# or, on a node: rladmin cluster config auditing db_conns {words} "
        "# then, for each database: rladmin tune db db:ID db_conns_auditing enabled"
    )


def _records(status: Status) -> Diagnosis:
    code = "records"
    if status.last_record_us is None:
        return _ok(code, "No notification has come since the agent began to listen.")
    number, last = status.records_total, format_us(status.last_record_us)
    return _ok(code, f"{number} notifications have come since the agent began to listen, the last at {last}.")


def _turned_away(options: Options, status: Status) -> Iterator[Diagnosis]:
    if status.refused:
        shown = ", ".join(f"{sender} ({times} times)" for sender, times in sorted(status.refused.items()))
        yield _warning(
            "refused_senders",
            f"These tried to connect and are not in allowed_addresses: {shown}.",
            "Add the nodes of the cluster to audit_options.engine.allowed_addresses.",
        )
    if status.turned_away_total:
        yield _warning(
            "max_connections",
            f"{status.turned_away_total} connections were ended because there were more than "
            f"{options.max_connections}, or more than half of the agent's file descriptors.",
            "Raise audit_options.engine.max_connections, and the agent's limit of open files, or find out in "
            "allowed_addresses who else connects.",
        )
    if status.too_long_total:
        yield _warning(
            "max_record_bytes",
            f"{status.too_long_total} records were longer than {options.max_record_bytes} bytes, or did not "
            "end, and were put aside.",
            "Raise audit_options.engine.max_record_bytes, or narrow allowed_addresses.",
        )


def _allowed(options: Options, place: Place) -> Iterator[Diagnosis]:
    code = "allowed_addresses"
    if is_loopback(place):
        return
    if not options.allowed_addresses:
        yield _warning(
            code,
            "Only this host itself may connect: allowed_addresses is empty.",
            "Set audit_options.engine.allowed_addresses to the nodes of the cluster, such as 10.0.0.0/24.",
        )
    elif any(network.prefixlen == 0 for network in options.networks()):
        yield _warning(
            code,
            "Everybody who reaches the agent may send, and a notification carries no proof of who sent it.",
            "Set audit_options.engine.allowed_addresses to the nodes of the cluster.",
        )


def _encryption(target: Target, place: Place) -> Diagnosis:
    code = "encryption"
    if is_loopback(place):
        return _ok(code, "The notifications do not leave this host.")
    ignored = (
        "" if target.ssl_mode is SslMode.DISABLE else f"; ssl_mode {target.ssl_mode.value} has no effect"
    )
    return _warning(
        code,
        f"Redis Enterprise sends the notifications in clear{ignored}.",
        "Let them cross only networks that you trust, or a tunnel (WireGuard, stunnel).",
    )


def _ok(code: str, detail: str) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.OK, detail)


def _warning(code: str, detail: str, remedy: str | None = None) -> Diagnosis:
    return Diagnosis(code, DiagnosisStatus.WARNING, detail, remedy)
