"""`/v1/keys`: the keys of this API."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response

from dbaudit.api.answers import json_answer
from dbaudit.api.gate import Call, Gate
from dbaudit.core.clock import format_us
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.state import State
from dbaudit.state.api_keys import ApiKey, Scope

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def keys_blueprint(gate: Gate, state: State) -> Blueprint:
    """The operations on API keys."""
    blueprint = Blueprint("keys", __name__)

    def list_keys(call: Call) -> Response:
        return json_answer({"data": [_shown(key) for key in state.api_keys.all()]})

    def create_key(call: Call) -> Response:
        assert call.body is not None
        wanted = call.body.checked()
        key, secret = state.api_keys.create(wanted["name"], _scopes(wanted["scopes"]))
        return json_answer({**_shown(key), "key": secret.reveal()}, 201)

    def update_key(call: Call) -> Response:
        assert call.body is not None
        wanted = call.body.checked()
        scopes = _scopes(wanted["scopes"]) if "scopes" in wanted else None
        return json_answer(_shown(state.api_keys.update(_id(call), wanted.get("name"), scopes)))

    def revoke_key(call: Call) -> Response:
        state.api_keys.revoke(_id(call))
        answer = Response(status=204)
        del answer.headers["Content-Type"]
        return answer

    gate.bind(
        blueprint,
        {
            "list_keys": list_keys,
            "create_key": create_key,
            "update_key": update_key,
            "revoke_key": revoke_key,
        },
    )
    return blueprint


def _scopes(words: list[str]) -> tuple[Scope, ...]:
    return tuple(scope for scope in Scope if scope in words)


def _id(call: Call) -> str:
    key_id = call.path["key_id"]
    if not _ID.fullmatch(key_id):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no API key with this id.")
    return key_id


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": format_us(key.created_at_us),
        "last_used_at": None if key.last_used_at_us is None else format_us(key.last_used_at_us),
        "revoked_at": None if key.revoked_at_us is None else format_us(key.revoked_at_us),
    }
