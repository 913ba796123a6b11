"""`/v1/keys`: the keys of this API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response

from dbaudit.api.acting import acting
from dbaudit.api.answers import json_answer
from dbaudit.api.gate import Call, Gate
from dbaudit.api.validation import invalid
from dbaudit.core.clock import format_us
from dbaudit.core.errors import ErrorCode, FieldError, RequestError
from dbaudit.core.key_bounds import expiry_us, is_narrower, normal_network, tags_problem
from dbaudit.state import State
from dbaudit.state.api_keys import ApiKey, Bounds, Scope

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")


def keys_blueprint(gate: Gate, state: State) -> Blueprint:
    """The operations on API keys."""
    blueprint = Blueprint("keys", __name__)

    def list_keys(call: Call) -> Response:
        return json_answer({"data": [_shown(key) for key in state.api_keys.all()]})

    def create_key(call: Call) -> Response:
        wanted = _wanted(call)
        bounds = Bounds(**_bounds(wanted))
        _require_possible(wanted["scopes"], bounds, call.key)
        key, secret = state.api_keys.create(wanted["name"], _scopes(wanted["scopes"]), bounds, act=acting())
        return json_answer({**_shown(key), "key": secret.reveal()}, 201)

    def update_key(call: Call) -> Response:
        wanted = _wanted(call)

        def changed(key: ApiKey) -> ApiKey:
            scopes = _scopes(wanted["scopes"]) if "scopes" in wanted else key.scopes
            bounds = msgspec.structs.replace(key.bounds, **_bounds(wanted))
            _require_possible(scopes, bounds, call.key)
            name = wanted.get("name", key.name)
            return msgspec.structs.replace(key, name=name, scopes=scopes, bounds=bounds)

        return json_answer(_shown(state.api_keys.update(_id(call), changed, act=acting())))

    def revoke_key(call: Call) -> Response:
        state.api_keys.revoke(_id(call), act=acting())
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


def _wanted(call: Call) -> Mapping[str, Any]:
    """The fields of the request, with its time and networks in the form of the state."""
    body = call.body
    assert body is not None
    details: list[FieldError] = []
    given = body.sound

    def converted(value: Any, pointer: str, convert: Callable[[str], Any]) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            details.append(FieldError(pointer, str(error)))
            return None

    found: dict[str, Any] = {}
    if given.get("expires_at") is not None:
        found["expires_at"] = converted(given["expires_at"], "/expires_at", expiry_us)
    if "networks" in given:
        found["networks"] = [
            converted(network, f"/networks/{place}", normal_network)
            for place, network in enumerate(given["networks"])
        ]
    return {**body.checked(details), **found}


def _bounds(wanted: Mapping[str, Any]) -> dict[str, Any]:
    bounds = {name: tuple(dict.fromkeys(wanted[name])) for name in ("networks", "tags") if name in wanted}
    return {**bounds, "expires_at_us": wanted["expires_at"]} if "expires_at" in wanted else bounds


def _require_possible(scopes: Sequence[str], bounds: Bounds, caller: ApiKey) -> None:
    """Raises RequestError for what no key can be, and for one that is bound less than ``caller``, which would
    free itself in this way.
    """
    problems = {"/tags": tags_problem(scopes, bounds.tags)}
    limit = caller.bounds
    ends = bounds.expires_at_us
    if limit.expires_at_us is not None and (ends is None or ends > limit.expires_at_us):
        until = format_us(limit.expires_at_us)
        problems["/expires_at"] = f"must not be later than {until}, when the key of this request expires"
    if not is_narrower(bounds.networks, limit.networks):
        problems["/networks"] = "must be within the networks of the key of this request"
    details = [FieldError(pointer, problem) for pointer, problem in problems.items() if problem is not None]
    if details:
        raise invalid(details)


def _scopes(words: list[str]) -> tuple[Scope, ...]:
    return tuple(scope for scope in Scope if scope in words)


def _id(call: Call) -> str:
    key_id = call.path["key_id"]
    if not _ID.fullmatch(key_id):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no API key with this id.")
    return key_id


def _shown(key: ApiKey) -> dict[str, Any]:
    expires_us = key.bounds.expires_at_us
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": _second(key.created_at_us),
        "last_used_at": _second(key.last_used_at_us),
        "revoked_at": _second(key.revoked_at_us),
        "expires_at": None if expires_us is None else format_us(expires_us),
        "networks": key.bounds.networks,
        "tags": key.bounds.tags,
    }


def _second(time_us: int | None) -> str | None:
    return None if time_us is None else format_us(time_us, whole_seconds=True)
