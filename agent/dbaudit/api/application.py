"""Puts the API together: one Flask application over one state."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Collection, Sequence
from urllib.parse import quote

import msgspec
from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry
from werkzeug.routing import BaseConverter

from dbaudit.api.authentication import Authenticator
from dbaudit.api.bulk import bulk_blueprint
from dbaudit.api.cluster import cluster_blueprint
from dbaudit.api.comparisons import Comparisons
from dbaudit.api.connection_tests import ConnectionTests
from dbaudit.api.databases import databases_blueprint
from dbaudit.api.document import PARAMETER, Document
from dbaudit.api.documentation import documentation_blueprint, documentation_page
from dbaudit.api.engines import EngineDescription, Engines
from dbaudit.api.errors import register_errors
from dbaudit.api.events import events_blueprint
from dbaudit.api.gate import Gate
from dbaudit.api.health import health_blueprint
from dbaudit.api.keys import keys_blueprint
from dbaudit.api.metrics import RequestFigures, StateFigures, metrics_blueprint
from dbaudit.api.nodes import nodes_blueprint
from dbaudit.api.rate_limit import RateLimiter
from dbaudit.api.visit import this_visit
from dbaudit.api.waiting import WaitingRoom
from dbaudit.state import State
from dbaudit.state.wakeup import Topic

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
WAITING_ROOM = "dbaudit_waiting_room"
"""The key in ``app.extensions`` of the WaitingRoom; close it when the service stops."""


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may set.

    ``rate_limit_per_minute`` bounds the requests of each key, ``failed_keys_per_minute`` the invalid keys of
    each address; 0 sets no limit. ``key_cache_seconds`` is how long a revoked key may still be
    accepted. ``test_timeout_seconds`` is how long a request waits for an agent's connection test.
    ``waiting_for_events`` and ``waiting_for_tests`` are how many requests may wait at once; they hold no
    thread. ``open_metrics`` shows `/metrics` without a key.
    """

    rate_limit_per_minute: int = 10_000
    failed_keys_per_minute: int = 60
    key_cache_seconds: float = 5.0
    max_body_bytes: int = 1_048_576
    test_timeout_seconds: float = 45.0
    waiting_for_events: int = 2000
    waiting_for_tests: int = 200
    open_metrics: bool = False


DEFAULT_SETTINGS = ApiSettings()


def create_app(
    state: State, *, engines: Sequence[EngineDescription], settings: ApiSettings = DEFAULT_SETTINGS
) -> Flask:
    """The application over ``state``; ``engines`` are those whose databases can be declared.

    Raises RuntimeError when an operation of the document has no view.
    """
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False
    document = Document()
    app.url_map.converters[PARAMETER] = _parameter_converter(document.words_beside_parameters)
    app.config["MAX_CONTENT_LENGTH"] = max(
        settings.max_body_bytes, *(o.max_body_bytes or 0 for o in document.operations.values())
    )
    gate = Gate(
        document,
        Authenticator(
            state.api_keys, RateLimiter(settings.failed_keys_per_minute), settings.key_cache_seconds
        ),
        state.own_events,
        RateLimiter(settings.rate_limit_per_minute),
        settings.max_body_bytes,
        frozenset({"get_metrics"}) if settings.open_metrics else frozenset(),
    )
    registry = CollectorRegistry()
    registry.register(StateFigures(state))
    room = WaitingRoom(
        state.wakeup,
        {Topic.EVENTS: settings.waiting_for_events, Topic.TASK_DONE: settings.waiting_for_tests},
    )
    app.extensions[WAITING_ROOM] = room
    known = Engines(engines)
    comparisons = Comparisons()
    tests = ConnectionTests(state, room, settings.test_timeout_seconds)
    for blueprint in (
        databases_blueprint(gate, state, known, tests, comparisons),
        bulk_blueprint(gate, state, known, comparisons),
        events_blueprint(gate, state, room),
        cluster_blueprint(gate, state),
        nodes_blueprint(gate, state),
        keys_blueprint(gate, state),
        health_blueprint(gate, state),
        metrics_blueprint(gate, registry),
        documentation_blueprint(gate),
        documentation_page(gate),
    ):
        app.register_blueprint(blueprint)
    missing = document.operations.keys() - gate.bound
    if missing:
        raise RuntimeError(f"operations of the document without a view: {', '.join(sorted(missing))}")
    register_errors(app)
    _frame(app, RequestFigures(registry))
    return app


def _parameter_converter(reserved: Collection[str]) -> type[BaseConverter]:
    """What a parameter of a path takes: any segment but the ``reserved`` ones, which are paths of their own,
    so that `Allow` names the methods of those alone.
    """
    words = "|".join(map(re.escape, sorted(reserved)))
    return type("Parameter", (BaseConverter,), {"regex": rf"(?!(?:{words})\Z)[^/]+"})


def _frame(app: Flask, figures: RequestFigures) -> None:
    """What every request gets, also if it fails: an id, headers, a line in the log, and its count in the
    metrics.
    """

    def begin() -> None:
        visit = this_visit()
        if not visit.request_id:
            given = request.headers.get("X-Request-Id")
            sane = given is not None and _REQUEST_ID.fullmatch(given)
            visit.request_id = given if given and sane else uuid.uuid4().hex
        g.request_id = visit.request_id
        g.started = visit.begun_at

    def end(response: Response) -> Response:
        headers = response.headers
        # add() does not look for a header of this name first, and there is none.
        headers.add("X-Request-Id", g.request_id)
        headers.add("X-Content-Type-Options", "nosniff")
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", "no-store")
        if "Location" in headers:
            # Not with the host that the client has sent: it may be any host.
            headers["Location"] = headers["Location"].removeprefix(request.host_url.rstrip("/"))
        allowance = g.get("allowance")
        if allowance is not None:
            headers.add("X-RateLimit-Limit", str(allowance.limit))
            headers.add("X-RateLimit-Remaining", str(allowance.remaining))
            headers.add("X-RateLimit-Reset", str(int(time.time()) + allowance.full_after_seconds))
        seconds = time.perf_counter() - g.started
        operation = (request.endpoint or "").rpartition(".")[2]
        figures.record(operation, response.status_code, seconds)
        _log.info(
            "%s %s %d %.1f ms request %s key %s from %s",
            request.method,
            quote(request.path),
            response.status_code,
            seconds * 1000,
            g.request_id,
            g.get("api_key_id", "-"),
            request.remote_addr,
        )
        return response

    app.before_request(begin)
    app.after_request(end)
