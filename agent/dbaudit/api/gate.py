"""Lets a request through to its view: key, rate, scope, media types, query, body, as the document says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
from flask import Blueprint, Response, g, request

from dbaudit.api.acting import acting
from dbaudit.api.authentication import Authenticator, require_scope
from dbaudit.api.body import Body
from dbaudit.api.document import Document, Operation
from dbaudit.api.parameters import Query, query_reader
from dbaudit.api.rate_limit import RateLimiter
from dbaudit.api.visit import Parked, this_visit
from dbaudit.core.errors import ErrorCode, RequestError, TransientError
from dbaudit.core.event import Outcome
from dbaudit.state.api_keys import ApiKey
from dbaudit.state.own_events import Action, Deed, OwnEvents

JSON = "application/json"


class Call(msgspec.Struct, frozen=True):
    """A request that may reach its view: the parts of its path, its query with all defaults, its body."""

    path: Mapping[str, str]
    query: Query
    body: Body | None
    _key: ApiKey | None

    @property
    def key(self) -> ApiKey:
        """The key of the request; only operations that need one may ask for it."""
        assert self._key is not None
        return self._key

    @property
    def bound_to(self) -> tuple[str, ...]:
        """The tags that the key is bound to: it reaches only databases that have all of them."""
        return self.key.bounds.tags


View = Callable[[Call], Response]


class Gate:
    """Binds views to the operations of the document. ``open_operations`` are those that need no key although
    the document asks for one.
    """

    def __init__(
        self,
        document: Document,
        authenticator: Authenticator,
        own_events: OwnEvents,
        limiter: RateLimiter,
        max_body_bytes: int,
        open_operations: frozenset[str] = frozenset(),
    ) -> None:
        self.document = document
        self._authenticator = authenticator
        self._own_events = own_events
        self._limiter = limiter
        self._max_body_bytes = max_body_bytes
        self._open_operations = open_operations
        self.bound: set[str] = set()

    def bind(self, blueprint: Blueprint, views: Mapping[str, View]) -> None:
        """Let ``blueprint`` answer operations, each with its view."""
        for operation_id, view in views.items():
            operation = self.document.operations[operation_id]
            blueprint.add_url_rule(
                operation.rule,
                operation_id,
                self._guarded(operation, view),
                methods=[operation.method],
                provide_automatic_options=False,
            )
            self.bound.add(operation_id)

    def _guarded(self, operation: Operation, view: View) -> Callable[..., Response]:
        read_query = query_reader(operation.query)
        scopes = () if operation.id in self._open_operations else operation.scopes

        def guarded(**path: str) -> Response:
            authorization, address = request.headers.get("Authorization"), request.remote_addr or ""
            key = self._admit(authorization, address, scopes) if scopes else None
            accept = request.headers.get("Accept")
            if accept is not None and accept not in ("*/*", JSON):
                _require_acceptable(operation)
            query = read_query(request.query_string)
            body = None if operation.body is None else Body(self._read(operation), operation.body)
            if body is not None:
                g.secrets = body.secrets  # whatever fails now, its traceback in the log does not have them
            try:
                return view(Call(path, query, body, key))
            except Parked as parked:
                parked.sender = (authorization, address, scopes)
                parked.readmit = lambda: self._identify(authorization, address, scopes)
                raise

        return guarded

    def _admit(self, authorization: str | None, address: str, scopes: Sequence[str]) -> ApiKey:
        key = self._authenticator.identify(authorization, address)
        g.api_key, g.api_key_id = key, key.id
        with self._recorded_refusal():
            self._authenticator.require_usable(key, address)
        visit = this_visit()
        if not visit.is_admitted:
            visit.is_admitted = True
            visit.allowance = self._limiter.take(key.id)
        allowance = visit.allowance
        if allowance is not None:
            g.allowance = allowance
            if not allowance.allowed:
                raise TransientError(
                    ErrorCode.RATE_LIMIT_EXCEEDED,
                    f"This API key has used up its {allowance.limit} requests a minute.",
                    retry_after_seconds=allowance.retry_after_seconds,
                )
        with self._recorded_refusal():
            require_scope(key, scopes)
        return key

    @contextmanager
    def _recorded_refusal(self) -> Iterator[None]:
        """A key that is known and may not do this: that is an event. The log has those that are not known."""
        try:
            yield
        except RequestError as error:
            deed = Deed(action=Action.REFUSED, outcome=Outcome.FAILURE, error_code=error.code)
            self._own_events.store(acting(), deed)
            raise

    def _identify(self, authorization: str | None, address: str, scopes: Sequence[str]) -> ApiKey:
        """The key of a request that waits, if it may still wait with it. A refusal is recorded when the
        request is run again for its answer: outside of a request there is nobody to name.
        """
        key = self._authenticator.identify(authorization, address)
        self._authenticator.require_usable(key, address)
        require_scope(key, scopes)
        return key

    def _read(self, operation: Operation) -> bytes:
        most = operation.max_body_bytes or self._max_body_bytes
        too_large = RequestError(ErrorCode.PAYLOAD_TOO_LARGE, f"The body has more than {most} bytes.")
        if (request.content_length or 0) > most:
            raise too_large
        request.max_content_length = most + 1  # of a chunked body no more than that is ever read
        charset = request.mimetype_params.get("charset", "utf-8").lower()
        if request.mimetype != JSON or charset != "utf-8" or "Content-Encoding" in request.headers:
            raise RequestError(
                ErrorCode.UNSUPPORTED_MEDIA_TYPE,
                "The body has to be application/json in UTF-8, without a content encoding.",
                remedy="Send the header Content-Type: application/json.",
            )
        this_visit().need_body(most + 1)
        body = request.get_data(cache=False)
        if len(body) > most:
            raise too_large
        return body


def _require_acceptable(operation: Operation) -> None:
    if request.accept_mimetypes.best_match(operation.produces) is None:
        raise RequestError(
            ErrorCode.NOT_ACCEPTABLE,
            f"The answer would be {' or '.join(operation.produces)}, which the header Accept excludes.",
        )
