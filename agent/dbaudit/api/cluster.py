"""`/v1/cluster`: where connection events are sent, and what new databases get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from flask import Blueprint, Response

from dbaudit.api.acting import acting
from dbaudit.api.answers import json_answer
from dbaudit.api.body import Body
from dbaudit.api.deliveries import DeliveryFigures, delivery_figures
from dbaudit.api.gate import Call, Gate
from dbaudit.core.clock import format_us
from dbaudit.core.db_conns import DbConnsSettings
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.state import State
from dbaudit.state.db_conns import DbConns

_FIELD_POINTERS = {f"/{field}" for field in DbConnsSettings.__struct_fields__}


def cluster_blueprint(gate: Gate, state: State) -> Blueprint:
    """The operations on the settings of the whole installation."""
    blueprint = Blueprint("cluster", __name__)

    def get_settings(call: Call) -> Response:
        return _settings_answer(state.db_conns.get())

    def put_settings(call: Call) -> Response:
        assert call.body is not None
        return _settings_answer(state.db_conns.put(_checked(call.body), act=acting()))

    def delete_settings(call: Call) -> Response:
        return _settings_answer(state.db_conns.delete(act=acting()))

    def get_status(call: Call) -> Response:
        return json_answer(_status_object(state))

    def get_policy(call: Call) -> Response:
        return _policy_answer(state.db_conns.current())

    def put_policy(call: Call) -> Response:
        assert call.body is not None
        given = call.body.checked()
        wanted = given.get("db_conns_auditing")
        return _policy_answer(
            state.db_conns.current() if wanted is None else state.db_conns.set_policy(wanted, act=acting())
        )

    gate.bind(
        blueprint,
        {
            "get_db_conns_auditing": get_settings,
            "put_db_conns_auditing": put_settings,
            "delete_db_conns_auditing": delete_settings,
            "get_db_conns_auditing_status": get_status,
            "get_cluster_policy": get_policy,
            "put_cluster_policy": put_policy,
        },
    )
    return blueprint


def _checked(body: Body) -> Mapping[str, Any]:
    """The fields of ``body``; a wrong value of a known one has the code of wrong settings."""
    try:
        return body.checked()
    except RequestError as error:
        if {detail.pointer for detail in error.details} <= _FIELD_POINTERS:
            raise RequestError(ErrorCode.DB_CONNS_INVALID, error.message, details=error.details) from None
        raise


def _settings_answer(present: DbConns) -> Response:
    settings = present.settings
    if settings is None:
        return json_answer({})
    shown = msgspec.structs.asdict(settings)
    return json_answer({field: value for field, value in shown.items() if value is not None})


def _policy_answer(present: DbConns) -> Response:
    return json_answer({"db_conns_auditing": present.policy})


def _status_object(state: State) -> dict[str, Any]:
    figures = delivery_figures(state)
    return {
        "sent": sum(one.delivery.sent_total for one in figures),
        "pending": sum(one.pending for one in figures),
        "reconnects": sum(one.delivery.reconnects_total for one in figures),
        "expired": sum(one.delivery.expired_total for one in figures),
        "oldest_unsent_seconds": max((one.oldest_unsent_seconds for one in figures), default=0.0),
        "databases": [_delivery_object(one) for one in figures],
    }


def _delivery_object(figures: DeliveryFigures) -> dict[str, Any]:
    delivery = figures.delivery
    return {
        "database_id": delivery.database_id,
        "database_name": delivery.database_name,
        "node": figures.node,
        "state": figures.state,
        "since": format_us(delivery.since_us, whole_seconds=True),
        "sent": delivery.sent_total,
        "pending": figures.pending,
        "reconnects": delivery.reconnects_total,
        "expired": delivery.expired_total,
        "oldest_unsent_seconds": figures.oldest_unsent_seconds,
        "last_error": (
            None if delivery.error is None else {"code": delivery.error_code, "message": delivery.error}
        ),
    }
