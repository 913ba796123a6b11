"""From the fields of a request to a declaration, with the checks that a schema cannot express."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dbaudit.api.body import Body
from dbaudit.api.certificates import certificate_problem, key_problem, pair_problem
from dbaudit.api.destinations import destination_errors
from dbaudit.api.engines import Engines
from dbaudit.api.reach import tag_errors
from dbaudit.core import typed
from dbaudit.core.database import (
    SECRET_FIELDS,
    AuditOptions,
    AuditStatus,
    ConnectionStatus,
    Database,
    SslMode,
)
from dbaudit.core.errors import FieldError
from dbaudit.core.hosts import normal_host
from dbaudit.core.secret import Secret
from dbaudit.state.databases import Declaration

_PLAIN_FIELDS = ("name", "port", "database", "username", "ssl_ca", "ssl_cert")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a request asks for. ``secrets`` has the fields that were given; None takes one away.
    ``audit_status`` None leaves it to the agent.
    """

    declaration: Declaration
    secrets: Mapping[str, Secret | None]
    audit_status: AuditStatus | None


def wanted_new(body: Body, engines: Engines, bound_to: Sequence[str]) -> Wanted:
    """The declaration of a new database by a key that is bound to these tags. Raises RequestError with all
    errors of the request.
    """
    given = body.sound
    details = engines.host_errors(given.get("type"), given["host"]) if "host" in given else []
    if "type" in given:
        details += engines.type_errors(given["type"])
        details += engines.option_errors(given["type"], given.get("audit_options", {}).get("engine", {}))
    details += _pem_errors(given, stored_certificate=None, stored_key=None)
    details += tag_errors(bound_to, given.get("tags", ()))
    given = body.checked(details)
    fields: dict[str, Any] = {field: given.get(field) for field in _PLAIN_FIELDS}
    secrets = {f: Secret(given[f]) for f in SECRET_FIELDS if given.get(f) is not None}
    return Wanted(
        declaration=Declaration(
            **fields,
            type=given["type"],
            host=normal_host(given["host"]),
            ssl_mode=SslMode(given.get("ssl_mode", SslMode.REQUIRE)),
            tags=tuple(given.get("tags", ())),
            audit_options=_changed_options(AuditOptions(), given.get("audit_options", {})),
            db_conns_auditing=given.get("db_conns_auditing"),
        ),
        secrets=secrets,
        audit_status=AuditStatus.PAUSED if given.get("audit_status") == AuditStatus.PAUSED else None,
    )


def wanted_change(
    body: Body,
    current: Database,
    stored: Mapping[str, Secret | None],
    engines: Engines,
    bound_to: Sequence[str],
) -> Wanted:
    """The change of ``current``; ``stored`` has its secrets by field. Raises as ``wanted_new``."""
    given = body.sound
    details = engines.host_errors(current.type, given["host"]) if "host" in given else []
    if given.get("type", current.type) != current.type:
        remedy = "remove the database and declare it again"
        details.append(FieldError("/type", f"is {current.type} and cannot change; {remedy}"))
    options = given.get("audit_options", {})
    if "engine" in options:
        details += engines.option_errors(current.type, options["engine"])
    details += _pem_errors(given, current.ssl_cert, stored.get("ssl_key"))
    details += _destination_errors(given, current, stored, engines)
    details += tag_errors(bound_to, given.get("tags", current.tags))
    given = body.checked(details)
    fields: dict[str, Any] = {field: given.get(field, getattr(current, field)) for field in _PLAIN_FIELDS}
    return Wanted(
        declaration=Declaration(
            **fields,
            type=current.type,
            host=normal_host(given["host"]) if "host" in given else current.host,
            ssl_mode=SslMode(given.get("ssl_mode", current.ssl_mode)),
            tags=tuple(given.get("tags", current.tags)),
            audit_options=_changed_options(current.audit_options, options),
            db_conns_auditing=given.get("db_conns_auditing"),
        ),
        secrets={f: None if given[f] is None else Secret(given[f]) for f in SECRET_FIELDS if f in given},
        audit_status=_audit_status(given.get("audit_status"), current),
    )


def fields_after(wanted: Wanted, present: AuditStatus, switched_on: bool) -> Mapping[str, object]:
    """All fields of a declaration once ``wanted`` is done; ``present`` is its audit status until then."""
    return {
        **msgspec.structs.asdict(wanted.declaration),
        "audit_status": present if wanted.audit_status is None else wanted.audit_status,
        "db_conns_auditing": switched_on,
    }


def _changed_options(options: AuditOptions, given: Mapping[str, Any]) -> AuditOptions:
    """``options`` with those that are given, which are valid by the schema."""
    return typed.convert({**msgspec.structs.asdict(options), **given}, AuditOptions)


def _audit_status(wanted: str | None, current: Database) -> AuditStatus | None:
    if wanted == AuditStatus.PAUSED:
        return AuditStatus.PAUSED
    if wanted == AuditStatus.ACTIVE and current.audit_status is AuditStatus.PAUSED:
        connected = current.status is ConnectionStatus.CONNECTED
        return AuditStatus.ACTIVE if connected else AuditStatus.INITIALIZING
    return None


def _destination_errors(
    given: Mapping[str, Any], current: Database, stored: Mapping[str, Secret | None], engines: Engines
) -> list[FieldError]:
    wanted = {
        "host": normal_host(given["host"]) if "host" in given else current.host,
        "port": given.get("port", current.port),
        "ssl_mode": SslMode(given.get("ssl_mode", current.ssl_mode)),
        "ssl_ca": given.get("ssl_ca", current.ssl_ca),
        "options": given.get("audit_options", {}).get("engine", current.audit_options.engine),
    }
    return destination_errors(current, wanted, given, stored, engines.destination_options(current.type))


def _pem_errors(
    given: Mapping[str, Any], stored_certificate: str | None, stored_key: Secret | None
) -> list[FieldError]:
    problems: dict[str, str | None] = {
        field: certificate_problem(given[field])
        for field in ("ssl_ca", "ssl_cert")
        if given.get(field) is not None
    }
    certificate = given.get("ssl_cert", stored_certificate)
    key = given.get("ssl_key", stored_key.reveal() if stored_key is not None else None)
    if given.get("ssl_key") is not None:
        problems["ssl_key"] = key_problem(key)
    if "ssl_cert" in given or "ssl_key" in given:
        if certificate is not None and key is None:
            problems["ssl_key"] = "is missing; ssl_cert needs its private key, or set both to null"
        elif certificate is None and key is not None:
            problems["ssl_cert"] = "is missing; ssl_key needs its certificate, or set both to null"
        elif certificate is not None and key is not None and not any(problems.values()):
            problems["ssl_key"] = pair_problem(certificate, key)
    return [FieldError(f"/{field}", problem) for field, problem in problems.items() if problem is not None]
