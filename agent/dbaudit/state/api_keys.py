"""API keys: shown once, stored as a hash, with scopes and what else they are bound to.

A key is 32 random characters, so a plain SHA-256 cannot be reversed and needs no salt or slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, func, insert, or_, select, update

from dbaudit.core import typed
from dbaudit.core.clock import format_us, now_us
from dbaudit.core.errors import ErrorCode, RequestError, not_found
from dbaudit.core.secret import Secret
from dbaudit.state.backend import Backend
from dbaudit.state.identifiers import new_id
from dbaudit.state.own_events import Act, Action, Deed, changing, differing, record
from dbaudit.state.schema import api_keys

KEY_PREFIX = "dbaudit_live_"
_KEY_CHARACTERS = 32
_ALPHABET = string.ascii_letters + string.digits
_LAST_USED_STEP_US = 60_000_000
_decode_tags = typed.decoder(tuple[str, ...])


class Scope(StrEnum):
    """What a key may do. `admin` includes all the others."""

    READ_DATABASES = "read:databases"
    WRITE_DATABASES = "write:databases"
    TEST_DATABASES = "test:databases"
    READ_EVENTS = "read:events"
    VIEW_CLUSTER_INFO = "view_cluster_info"
    UPDATE_CLUSTER = "update_cluster"
    ADMIN = "admin"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is bound to beside its scopes.

    It is refused from ``expires_at_us`` on (None: never), from addresses outside ``networks`` (CIDR; none:
    from everywhere is fine), and reaches only databases that have all of ``tags``.
    """

    expires_at_us: int | None = None
    networks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


UNBOUND = Bounds()


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it is known afterwards: everything but the key itself."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at_us: int
    last_used_at_us: int | None = None
    revoked_at_us: int | None = None
    bounds: Bounds = UNBOUND

    @property
    def is_expired(self) -> bool:
        """Whether its time is over."""
        return self.bounds.expires_at_us is not None and self.bounds.expires_at_us <= now_us()


class ApiKeyStore:
    """Creates, verifies, lists and revokes API keys."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def create(
        self, name: str, scopes: tuple[Scope, ...], bounds: Bounds = UNBOUND, *, act: Act | None = None
    ) -> tuple[ApiKey, Secret]:
        """A new key with the given scopes, and the key itself, which cannot be shown again."""
        text = KEY_PREFIX + "".join(secrets.choice(_ALPHABET) for position in range(_KEY_CHARACTERS))
        key = ApiKey(
            id=new_id("key"),
            name=name,
            scopes=tuple(s.value for s in scopes),
            created_at_us=now_us(),
            bounds=bounds,
        )
        with changing(self._backend) as connection:
            record(connection, act, _deed(Action.CREATED, key, {}, _shown(key)))
            connection.execute(
                insert(api_keys).values(
                    id=key.id, key_hash=_hash(text), created_at_us=key.created_at_us, **_columns(key)
                )
            )
        return key, Secret(text)

    def verify(self, presented: str) -> ApiKey | None:
        """The key that was presented, or None when it is unknown or revoked. It may have expired."""
        with self._backend.reading() as connection:
            row = connection.execute(
                select(api_keys).where(
                    api_keys.c.key_hash == _hash(presented), api_keys.c.revoked_at_us.is_(None)
                )
            ).one_or_none()
        return None if row is None else _key(row)

    def mark_used(self, key: ApiKey) -> None:
        """Remember that the key was used now; at most once a minute, to spare the state."""
        now = now_us()
        if key.last_used_at_us is not None and now - key.last_used_at_us < _LAST_USED_STEP_US:
            return
        with self._backend.writing() as connection:
            connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(last_used_at_us=now))

    def all(self) -> list[ApiKey]:
        """All keys, the revoked and expired ones too, oldest first."""
        with self._backend.reading() as connection:
            return [
                _key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at_us))
            ]

    def count(self) -> int:
        """How many keys can be used."""
        expiry = api_keys.c.expires_at_us
        with self._backend.reading() as connection:
            return connection.execute(
                select(func.count())
                .select_from(api_keys)
                .where(api_keys.c.revoked_at_us.is_(None), or_(expiry.is_(None), expiry > now_us()))
            ).scalar_one()

    def update(self, key_id: str, changed: Callable[[ApiKey], ApiKey], *, act: Act | None = None) -> ApiKey:
        """Make name, scopes and bounds of a key those of what ``changed`` makes of it.

        Raises RequestError: `not_found`, `conflict` for one that is revoked, and what ``changed`` raises.
        """
        with changing(self._backend) as connection:
            row = _locked(connection, key_id)
            if row.revoked_at_us is not None:
                raise RequestError(ErrorCode.CONFLICT, f"The API key {key_id} is revoked; make a new one.")
            before = _key(row)
            key = changed(before)
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(**_columns(key)))
            if key != before:
                record(connection, act, _deed(Action.CHANGED, key, _shown(before), _shown(key)))
        return key

    def revoke(self, key_id: str, *, act: Act | None = None) -> None:
        """Revoke a key permanently. Raises RequestError (`not_found`) for an unknown id."""
        with changing(self._backend) as connection:
            row = _locked(connection, key_id)
            if row.revoked_at_us is not None:
                return
            connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at_us=now_us()))
            record(connection, act, _deed(Action.REMOVED, _key(row), _shown(_key(row)), {}))


def _locked(connection: Connection, key_id: str) -> Row[Any]:
    row = connection.execute(select(api_keys).where(api_keys.c.id == key_id).with_for_update()).one_or_none()
    if row is None:
        raise not_found("API key", key_id)
    return row


def _shown(key: ApiKey) -> dict[str, Any]:
    expiry = key.bounds.expires_at_us
    return {
        "name": key.name,
        "scopes": key.scopes,
        "expires_at": None if expiry is None else format_us(expiry),
        "networks": key.bounds.networks,
        "tags": key.bounds.tags,
    }


def _deed(action: Action, key: ApiKey, before: dict[str, Any], after: dict[str, Any]) -> Deed:
    return Deed(action=action, objects=(key.id, key.name), rows=1, detail=differing(before, after))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _columns(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": " ".join(key.scopes),
        "expires_at_us": key.bounds.expires_at_us,
        "networks": " ".join(key.bounds.networks),
        "tags": msgspec.json.encode(key.bounds.tags).decode(),
    }


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scopes=tuple(row.scopes.split()),
        created_at_us=row.created_at_us,
        last_used_at_us=row.last_used_at_us,
        revoked_at_us=row.revoked_at_us,
        bounds=Bounds(
            expires_at_us=row.expires_at_us,
            networks=tuple(row.networks.split()),
            tags=_decode_tags(row.tags),
        ),
    )
