"""The installation as a whole: where connection events are sent, and what new databases get."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from dbaudit.core import typed
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, call
from dbaudit.sdk.request import Repeat, Reply, Request, understood_as

_SETTINGS = "/v1/cluster/auditing/db_conns"
_POLICY = "/v1/cluster/policy"


class DbConnsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where connection events are sent; ``audit_port`` is None with the protocol `local`."""

    audit_protocol: str
    audit_address: str
    audit_reconnect_interval: int
    audit_reconnect_max_attempts: int
    audit_port: int | None = None


class DeliveryError(msgspec.Struct, frozen=True, kw_only=True):
    """Why sending has stopped."""

    message: str
    code: str | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The state of sending for one database."""

    database_id: str
    database_name: str
    state: str
    since: datetime
    sent: int
    pending: int
    reconnects: int
    expired: int
    oldest_unsent_seconds: float
    node: str | None = None
    last_error: DeliveryError | None = None


class DbConnsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of sending connection events: the sums, and each database."""

    sent: int
    pending: int
    reconnects: int
    expired: int
    oldest_unsent_seconds: float
    databases: tuple[Delivery, ...]


class ClusterPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What new databases get if their request does not say."""

    db_conns_auditing: bool


def _settings_or_none(reply: Reply) -> DbConnsSettings | None:
    settings = msgspec.json.decode(reply.content or b"{}")
    return typed.convert(settings, DbConnsSettings) if settings else None


def _nothing(reply: Reply) -> None:
    """The answer to a removal says nothing."""


def get_db_conns_auditing() -> Request[DbConnsSettings | None]:
    """Where connection events are sent; None if nothing is set."""
    return Request(method="GET", path=_SETTINGS, understand=_settings_or_none)


def put_db_conns_auditing(
    *,
    audit_protocol: Literal["TCP", "local"] | UnsetType = UNSET,
    audit_address: str | UnsetType = UNSET,
    audit_port: int | UnsetType = UNSET,
    audit_reconnect_interval: int | UnsetType = UNSET,
    audit_reconnect_max_attempts: int | UnsetType = UNSET,
) -> Request[DbConnsSettings]:
    """Set where connection events are sent; what is not given stays. ``audit_reconnect_interval`` is in
    seconds; ``audit_reconnect_max_attempts`` 0 sets no limit. Returns the settings as they are then.
    """
    body = {
        "audit_protocol": audit_protocol,
        "audit_address": audit_address,
        "audit_port": audit_port,
        "audit_reconnect_interval": audit_reconnect_interval,
        "audit_reconnect_max_attempts": audit_reconnect_max_attempts,
    }
    return Request(method="PUT", path=_SETTINGS, body=body, understand=understood_as(DbConnsSettings))


def delete_db_conns_auditing() -> Request[None]:
    """Forget where connection events are sent; refused while the policy or a database is on."""
    return Request(method="DELETE", path=_SETTINGS, understand=_nothing, repeat=Repeat.UNTIL_GONE)


def get_db_conns_auditing_status() -> Request[DbConnsStatus]:
    """The state of sending connection events."""
    return Request(method="GET", path=f"{_SETTINGS}/status", understand=understood_as(DbConnsStatus))


def get_cluster_policy() -> Request[ClusterPolicy]:
    """What new databases get."""
    return Request(method="GET", path=_POLICY, understand=understood_as(ClusterPolicy))


def put_cluster_policy(*, db_conns_auditing: bool | UnsetType = UNSET) -> Request[ClusterPolicy]:
    """Set what new databases get; what is not given stays. Databases that exist stay as they are."""
    body = {"db_conns_auditing": db_conns_auditing}
    return Request(method="PUT", path=_POLICY, body=body, understand=understood_as(ClusterPolicy))


class Cluster(Resource):
    """``client.cluster``."""

    get_db_conns_auditing = call(get_db_conns_auditing)
    put_db_conns_auditing = call(put_db_conns_auditing)
    delete_db_conns_auditing = call(delete_db_conns_auditing)
    get_db_conns_auditing_status = call(get_db_conns_auditing_status)
    get_policy = call(get_cluster_policy)
    put_policy = call(put_cluster_policy)


class AsyncCluster(AsyncResource):
    """``client.cluster`` of an AsyncClient."""

    get_db_conns_auditing = async_call(get_db_conns_auditing)
    put_db_conns_auditing = async_call(put_db_conns_auditing)
    delete_db_conns_auditing = async_call(delete_db_conns_auditing)
    get_db_conns_auditing_status = async_call(get_db_conns_auditing_status)
    get_policy = async_call(get_cluster_policy)
    put_policy = async_call(put_cluster_policy)
