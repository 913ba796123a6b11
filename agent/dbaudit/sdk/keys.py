"""API keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from dbaudit.core import typed
from dbaudit.core.secret import Secret
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, call
from dbaudit.sdk.request import Repeat, Reply, Request, segment, understood_as

_PATH = "/v1/keys"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it is known afterwards: everything but the key itself."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    expires_at: datetime | None = None
    networks: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class NewKey(Key, frozen=True, kw_only=True):
    """A key that was just made; ``key.reveal()`` is the key itself, which cannot be shown again."""

    key: Secret


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[Key, ...]


def list_keys() -> Request[tuple[Key, ...]]:
    """The keys, in the order of their creation; those that were revoked, too."""
    return Request(method="GET", path=_PATH, understand=_keys)


def create_key(
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | UnsetType | None = UNSET,
    networks: Sequence[str] | UnsetType = UNSET,
    tags: Sequence[str] | UnsetType = UNSET,
) -> Request[NewKey]:
    """Make a key. The request is not repeated if the answer is lost: that key would stay unknown.

    ``expires_at``: from then on it is refused. ``networks`` (CIDR): from elsewhere it is refused. ``tags``:
    it reaches only databases that have all of them.
    """
    body = {
        "name": name,
        "scopes": scopes,
        "expires_at": _time(expires_at),
        "networks": networks,
        "tags": tags,
    }
    return Request(method="POST", path=_PATH, body=body, understand=_new_key, repeat=Repeat.NEVER)


def update_key(
    key_id: str,
    *,
    name: str | UnsetType = UNSET,
    scopes: Sequence[str] | UnsetType = UNSET,
    expires_at: datetime | UnsetType | None = UNSET,
    networks: Sequence[str] | UnsetType = UNSET,
    tags: Sequence[str] | UnsetType = UNSET,
) -> Request[Key]:
    """Change the fields that are given, and return the key as it is then. None and an empty list take the
    bound away.
    """
    body = {
        "name": name,
        "scopes": scopes,
        "expires_at": _time(expires_at),
        "networks": networks,
        "tags": tags,
    }
    return Request(method="PATCH", path=_path(key_id), body=body, understand=understood_as(Key))


def revoke_key(key_id: str) -> Request[None]:
    """Revoke a key; it is refused from then on."""
    return Request(method="DELETE", path=_path(key_id), understand=_nothing, repeat=Repeat.UNTIL_GONE)


def _time(moment: datetime | UnsetType | None) -> str | UnsetType | None:
    if not isinstance(moment, datetime):
        return moment
    return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)).isoformat()


def _path(key_id: str) -> str:
    return f"{_PATH}/{segment(key_id)}"


def _keys(reply: Reply) -> tuple[Key, ...]:
    return typed.decode(reply.content, _Listing).data


def _new_key(reply: Reply) -> NewKey:
    return typed.decode(reply.content, NewKey, dec_hook=_secret)


def _secret(kind: type, value: Any) -> Secret:
    return Secret(str(value))


def _nothing(reply: Reply) -> None:
    """The answer to a removal says nothing."""


class Keys(Resource):
    """``client.keys``. Every method raises ``dbaudit.sdk.ApiError``."""

    list = call(list_keys)
    create = call(create_key)
    update = call(update_key)
    revoke = call(revoke_key)


class AsyncKeys(AsyncResource):
    """``client.keys`` of an AsyncClient. Every method raises ``dbaudit.sdk.ApiError``."""

    list = async_call(list_keys)
    create = async_call(create_key)
    update = async_call(update_key)
    revoke = async_call(revoke_key)
