"""Which sources of records a server offers: found out by asking it, and by looking at the disk."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from dbaudit.core.clock import to_us
from dbaudit.core.errors import DbauditError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import may_read
from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.options import LogSource, Options


class AuditDestination(StrEnum):
    """Where the server writes its audit log, as far as that matters here."""

    NONE = "none"
    JSON_FILE = "JSON file"
    BSON_FILE = "BSON file"
    ELSEWHERE = "syslog or console"


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    ``process`` is a unique id of its running process. ``own_ip`` is the agent's address as the server sees
    it.
    ``log_path`` and ``audit_path`` are files of this host that can be read; ``log_written_to`` and
    ``audit_written_to`` are what the server says. ``audit_filter`` says that only a part is audited.
    """

    version: str
    edition: str
    mongos: bool
    replica_set: bool = False
    process: str
    now_us: int
    own_ip: str | None
    on_this_host: bool
    quiet: bool
    log_destination: str
    log_written_to: Path | None
    log_path: Path | None
    audit_destination: AuditDestination = AuditDestination.NONE
    audit_written_to: Path | None = None
    audit_path: Path | None = None
    audit_filter: bool = False
    audit_successes: bool = False

    @property
    def name(self) -> str:
        """The version as its users write it."""
        if self.edition.startswith("Percona"):
            return self.edition
        return f"MongoDB {self.version} ({self.edition})"

    @property
    def major(self) -> tuple[int, int]:
        """The version as numbers: (6, 0)."""
        numbers = [int(part) for part in self.version.split(".")[:2] if part.isdecimal()]
        return (numbers[0], numbers[1]) if len(numbers) == 2 else (0, 0)


def probe(connection: MemberConnection, options: Options, *, declared: bool) -> Probe:
    """Ask a server; ``declared``: it is the declared one, to which the file names in the options belong.

    Raises ConfigurationError or TransientError.
    """
    build = connection.command({"buildInfo": 1})
    hello = connection.command({"hello": 1})
    settings = connection.command({"getCmdLineOpts": 1}).get("parsed") or {}
    status = connection.command(
        {"serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0, "wiredTiger": 0, "tcmalloc": 0}
    )
    parameters = _parameters(connection)
    log = settings.get("systemLog") or {}
    audit = settings.get("auditLog") or {}
    log_written_to = _path(log.get("path")) if log.get("destination") == "file" else None
    audit_written_to = _path(audit.get("path")) if audit.get("destination") == "file" else None
    here = _runs_here(status)
    local = options.log_source is not LogSource.REMOTE and (
        here or (declared and options.log_source is LogSource.LOCAL)
    )
    log_path = (_path(options.log_path) if declared else None) or (log_written_to if local else None)
    audit_path = (_path(options.audit_log_path) if declared else None) or (
        audit_written_to if local else None
    )
    if options.log_source is LogSource.AUTO:
        limits = connection.target.limits
        log_path = log_path if _readable(log_path, limits) else None
        audit_path = audit_path if _readable(audit_path, limits) else None
    destination = _audit_destination(audit)
    if destination is not AuditDestination.BSON_FILE and audit_path is not None:
        destination = AuditDestination.JSON_FILE
    local_time = hello.get("localTime")
    return Probe(
        version=str(build.get("version", "?")),
        edition=_edition(build),
        mongos=hello.get("msg") == "isdbgrid",
        replica_set="setName" in hello,
        process=_process(hello, status),
        now_us=to_us(local_time) if isinstance(local_time, datetime) else 0,
        own_ip=_own_ip(connection),
        on_this_host=here,
        quiet=bool(log.get("quiet") or parameters.get("quiet")),
        log_destination=str(log.get("destination", "standard output")),
        log_written_to=log_written_to,
        log_path=log_path,
        audit_destination=destination,
        audit_written_to=audit_written_to,
        audit_path=audit_path if destination is AuditDestination.JSON_FILE else None,
        audit_filter=audit.get("filter") not in (None, "", "{}"),
        audit_successes=bool(parameters.get("auditAuthorizationSuccess")),
    )


def _parameters(connection: MemberConnection) -> Mapping[str, Any]:
    """The parameters that concern the logs; Community servers do not know the one of the audit log."""
    found: dict[str, Any] = {}
    for name in ("quiet", "auditAuthorizationSuccess"):
        try:
            found |= connection.command({"getParameter": 1, name: 1})
        except DbauditError as error:
            if error.code in (ErrorCode.PERMISSION_MISSING, ErrorCode.STATEMENT_TIMEOUT):
                raise
    return found


def _edition(build: Mapping[str, Any]) -> str:
    if build.get("psmdbVersion"):
        return f"Percona Server for MongoDB {build['psmdbVersion']}"
    if "ferretdb" in build:
        return "FerretDB"
    return "Enterprise" if "enterprise" in (build.get("modules") or []) else "Community"


def _process(hello: Mapping[str, Any], status: Mapping[str, Any]) -> str:
    topology = hello.get("topologyVersion") or {}
    identity = topology.get("processId")
    return str(identity) if identity is not None else f"pid-{status.get('pid')}"


def _own_ip(connection: MemberConnection) -> str | None:
    try:
        you = str(connection.command({"whatsmyuri": 1}).get("you", ""))
    except DbauditError as error:
        if error.code is ErrorCode.CONNECTION_LOST:
            raise
        return None
    host = you.rpartition(":")[0].removeprefix("[").removesuffix("]")
    return host or None


def _runs_here(status: Mapping[str, Any]) -> bool:
    """Whether the server names this host as its own, and its process id is that of a MongoDB server here."""
    host = str(status.get("host", "")).partition(":")[0]
    number = status.get("pid")
    if not host or host.split(".")[0] != socket.gethostname().split(".")[0]:
        return False
    try:
        return Path(f"/proc/{int(number or 0)}/comm").read_text().startswith("mongo")
    except (OSError, ValueError, TypeError):
        return False


def _readable(path: Path | None, limits: HostLimits | None) -> bool:
    return path is not None and may_read(path, limits) and path.is_file()


def _audit_destination(audit: Mapping[str, Any]) -> AuditDestination:
    destination = audit.get("destination")
    if destination is None:
        return AuditDestination.NONE
    if destination != "file":
        return AuditDestination.ELSEWHERE
    is_bson = str(audit.get("format", "JSON")).upper() == "BSON"
    return AuditDestination.BSON_FILE if is_bson else AuditDestination.JSON_FILE


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None
