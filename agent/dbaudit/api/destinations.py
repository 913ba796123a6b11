"""Stored secrets stay with their destination: a request that changes it has to contain them again.

Otherwise a client that may change a declaration could point it at a server of its own, and the agent would
log in there with the password of the production database.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dbaudit.core.database import SECRET_FIELDS, Database, SslMode
from dbaudit.core.errors import FieldError
from dbaudit.core.secret import Secret

_DESTINATION_FIELDS = ("host", "port", "ssl_ca")
_STRENGTHS = {mode: strength for strength, mode in enumerate(SslMode)}


def destination_errors(
    current: Database,
    wanted: Mapping[str, Any],
    given: Mapping[str, Any],
    stored: Mapping[str, Secret | None],
    destination_options: Collection[str],
) -> list[FieldError]:
    """Errors for the stored secrets that ``given``, the fields of a request, must contain again; else empty.

    ``wanted`` holds `host`, `port`, `ssl_mode`, `ssl_ca` and the engine's options (`options`) as they would
    be; ``stored`` the present secrets by field; ``destination_options`` names the engine's options that say
    where or through what the agent connects.
    """
    changed = _changed(current, wanted, destination_options)
    if not changed:
        return []
    why = (
        f"has to be given again (in Ansible: update_password: always), because {_listed(changed)}; "
        "a stored secret is only used where it was used so far"
    )
    return [
        FieldError(f"/{field}", why)
        for field in SECRET_FIELDS
        if field not in given and (secret := stored.get(field)) is not None and secret.reveal()
    ]


def _changed(current: Database, wanted: Mapping[str, Any], destination_options: Collection[str]) -> list[str]:
    changed = [
        f"{field} changes" for field in _DESTINATION_FIELDS if wanted[field] != getattr(current, field)
    ]
    if _STRENGTHS[wanted["ssl_mode"]] < _STRENGTHS[current.ssl_mode]:
        changed.append("ssl_mode becomes weaker")
    before, after = current.audit_options.engine, wanted["options"]
    changed += [
        f"audit_options.engine.{option} changes"
        for option in destination_options
        if after.get(option) != before.get(option)
    ]
    return changed


def _listed(reasons: Sequence[str]) -> str:
    return reasons[0] if len(reasons) == 1 else f"{', '.join(reasons[:-1])} and {reasons[-1]}"
