"""`/health`: for programs that start, stop and monitor the service."""

from __future__ import annotations

import logging

from flask import Blueprint, Response

from dbaudit.api.answers import json_answer
from dbaudit.api.gate import Call, Gate
from dbaudit.core.errors import TransientError
from dbaudit.state import State

_log = logging.getLogger(__name__)


def health_blueprint(gate: Gate, state: State) -> Blueprint:
    """The operations on the health of the service. They need no key."""
    blueprint = Blueprint("health", __name__)

    def live(call: Call) -> Response:
        return json_answer({"status": "ok"})

    def ready(call: Call) -> Response:
        checks = {"state": "ok", "agent": "ok"}
        try:
            if not state.nodes.all(alive_only=True):
                checks["agent"] = "no agent is alive; start one with dbaudit agent"
        except TransientError as error:
            _log.warning("not ready: %s", error)
            checks = {"state": "the state cannot be reached", "agent": "not known without the state"}
        is_ready = all(result == "ok" for result in checks.values())
        return json_answer(
            {"status": "ready" if is_ready else "not_ready", "checks": checks}, 200 if is_ready else 503
        )

    gate.bind(blueprint, {"health_live": live, "health_ready": ready})
    return blueprint
