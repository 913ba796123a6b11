"""`/v1/nodes`: the agents."""

from __future__ import annotations

from flask import Blueprint, Response

from dbaudit.api.answers import json_answer
from dbaudit.api.gate import Call, Gate
from dbaudit.core.clock import format_us
from dbaudit.state import State


def nodes_blueprint(gate: Gate, state: State) -> Blueprint:
    """The operation on the agents."""
    blueprint = Blueprint("nodes", __name__)

    def list_nodes(call: Call) -> Response:
        alive = {node.id for node in state.nodes.all(alive_only=True)}
        holdings = state.nodes.holdings()
        shown = [
            {
                "id": node.id,
                "name": node.name,
                "version": node.version,
                "alive": node.id in alive,
                "capabilities": node.capabilities,
                "started_at": format_us(node.started_at_us, whole_seconds=True),
                "last_heartbeat": format_us(node.heartbeat_at_us, whole_seconds=True),
                "databases": holdings.get(node.id, []),
            }
            for node in state.nodes.all()
        ]
        return json_answer({"data": shown})

    gate.bind(blueprint, {"list_nodes": list_nodes})
    return blueprint
