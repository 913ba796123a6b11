"""A request over all its runs: a view that cannot answer yet hands it back, and it is run again.

So no thread waits for events, for agents or for slow bodies. What must not happen twice is kept here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, MutableMapping
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest

from dbaudit.api.arriving import ArrivingBody
from dbaudit.api.rate_limit import Allowance
from dbaudit.state.wakeup import Topic

VISIT = "dbaudit.visit"
"""The key of the Visit in the environment of WSGI."""


class Visit:
    """What is kept of a request from one run to the next. ``deadline`` (monotonic) is when it has waited
    long enough; None while it has not waited.
    """

    def __init__(
        self, arriving: ArrivingBody | None = None, receive: Callable[[], None] = lambda: None
    ) -> None:
        self.begun_at = time.perf_counter()
        self.request_id = ""
        self.is_admitted = False
        self.allowance: Allowance | None = None
        self.deadline: float | None = None
        self.found: dict[str, Any] = {}
        self._arriving = arriving
        self._receive = receive

    def need_body(self, most: int) -> None:
        """Go on when the body has arrived, or ``most`` bytes of it. Raises BodyAwaited until then, and
        BadRequest for one that is malformed.
        """
        body = self._arriving
        if body is None:
            return
        if not body.has(most):
            self._receive()
        if not body.has(most):
            raise BodyAwaited(most)
        if body.malformed:
            raise BadRequest("The body is malformed.")


class HandedBack(BaseException):
    """The request is to be run again; no error, so nothing that handles errors may take it."""


class BodyAwaited(HandedBack):
    """Run the request again when its body is whole or has ``most`` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.most = most


class Parked(HandedBack):
    """Run the request again when there may be something for it, or at ``deadline`` (monotonic).

    ``look`` takes a position and returns whether there is something after it, and the position up to which it
    has looked. It is called on a notice of ``topic``, once for all requests with the same ``group``.
    ``seen`` is the count of notices from before the view looked.
    """

    def __init__(
        self,
        topic: Topic,
        seen: int,
        deadline: float,
        *,
        group: Hashable,
        position: int,
        look: Callable[[int], tuple[bool, int]],
    ) -> None:
        super().__init__()
        self.topic = topic
        self.seen = seen
        self.deadline = deadline
        self.group = group
        self.position = position
        self.look = look
        self.looked_at = time.monotonic()
        self.sender: Hashable = None
        self.readmit: Callable[[], object] = lambda: None
        self.resume: Callable[[], None] = lambda: None


def this_visit() -> Visit:
    """The visit of the request that is being answered."""
    return visit_in(request.environ)


def visit_in(environ: MutableMapping[str, Any]) -> Visit:
    """The Visit that a WSGI environ holds. If it holds none, a new one is put into it."""
    found = environ.get(VISIT)
    if found is None:
        found = environ[VISIT] = Visit()
    assert isinstance(found, Visit)
    return found
