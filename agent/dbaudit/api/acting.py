"""Who acts in the request that is being answered."""

from __future__ import annotations

from flask import g, request

from dbaudit.state.api_keys import ApiKey
from dbaudit.state.own_events import Act, By


def acting() -> Act:
    """The act of this request, whose key is known."""
    key: ApiKey = g.api_key
    port = request.environ.get("REMOTE_PORT")
    return Act(
        operation=(request.endpoint or "").rpartition(".")[2],
        by=By.API_KEY,
        user=key.name,
        key_id=key.id,
        address=request.remote_addr or None,
        port=int(port) if port else None,
        client=request.headers.get("User-Agent"),
        request_id=g.request_id,
    )
