"""Joining the records that Percona's audit_log_filter writes for one statement into one event.

With `event_mode = FULL`, and on all releases before 8.4.9-9, it writes up to four records of the class
`general` for a statement: `log` when it arrives, `error` when it fails, `result` when it has answered, and
`status` at the end, which has the outcome. Only the connection and the order show which records belong
together.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected
from dbaudit.engines.mysql.local_time import LocalZone


class Kind(StrEnum):
    """Which of a statement's records this is. The last one, ``status``, has no kind."""

    LOG = "log"
    ERROR = "error"
    RESULT = "result"
    TEXT = "text"
    """Of the class `query`: it has the statement's text if the others lack it."""
    MESSAGE = "message"
    """In XML: an error whose message is the name of a command, or a failed command that runs no statement."""
    ANY = "any"
    """A record in XML, whose name is the command's for all four."""


class Part(NamedTuple):
    """A record that may be one of several of its statement, and its kind.

    ``name`` is the class under which it is counted if it belongs to no statement.
    """

    kind: Kind
    key: str
    raw: bytes
    name: str = ""


LeftOut = tuple[str, str | None, str | None]
"""A record that makes no event: its class, its user and its session."""


@dataclass
class Records:
    """What was decoded from some records, in their order.

    ``parts`` maps the index of an event to its record, if a statement may have several. ``ended`` are pairs
    of an index and a session: the session's statement had ended before the event at that index.
    """

    events: list[AuditEvent] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    parts: dict[int, Part] = field(default_factory=dict)
    ended: list[tuple[int, str | None]] = field(default_factory=list)
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    """The records that become no event."""
    zone: LocalZone | None = None
    """The time zone of the stamps; None if they are UTC."""
    several: bool = False
    """Whether a record was seen that is written only if statements have several."""
    lasts: bool = False
    """Whether the last record of a statement was seen."""

    def add(self, event: AuditEvent, part: Part | None = None) -> None:
        """Add the event of a record; ``part`` is the record, if a statement may have several."""
        if part is not None:
            self.parts[len(self.events)] = part
            self.several = self.several or part.kind not in (Kind.ANY, Kind.MESSAGE)
            self.lasts = self.lasts or part.kind is Kind.ANY
        self.events.append(event)

    def leave_out(self, name: str, event: AuditEvent) -> None:
        """Count a record that becomes no event. ``name`` is its class; ``event`` has its user and session."""
        record = (name, event.user, event.session_id)
        self.left_out[record] = self.left_out.get(record, 0) + 1

    def end(self, session: str | None) -> None:
        """The statement of a session has ended; the record that says so becomes no event itself."""
        self.lasts = True
        self.ended.append((len(self.events), session))


class Joined(NamedTuple):
    """The events, the records of statements that had not ended yet, and the records of no statement."""

    events: list[AuditEvent]
    unfinished: list[Part]
    left_out: Counter[LeftOut]


@dataclass
class _Statement:
    """A statement whose last record has not been read yet."""

    first: AuditEvent
    parts: list[Part]
    errors: list[str] = field(default_factory=list)
    answered: bool = False
    inner: list[AuditEvent] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    last: AuditEvent | None = None
    """A record in XML that is the last one unless another one of this statement follows."""


def joined(records: Records, *, hold: bool) -> Joined:
    """One event for each statement. If ``hold``, statements that had not ended yet have no event."""
    if not records.parts:
        return Joined(records.events, [], Counter())
    work = _Joining(lasts=records.lasts)
    ended = iter(records.ended)
    next_end = next(ended, None)
    for place, event in enumerate(records.events):
        while next_end is not None and next_end[0] <= place:
            work.end(next_end[1])
            next_end = next(ended, None)
        part = records.parts.get(place)
        if part is not None and part.kind is Kind.ANY and not records.several:
            part = None
        work.add(event, part)
    while next_end is not None:
        work.end(next_end[1])
        next_end = next(ended, None)
    return work.finish(hold=hold)


class _Joining:
    def __init__(self, *, lasts: bool) -> None:
        self._lasts = lasts
        self._events: list[AuditEvent] = []
        self._open: dict[str | None, _Statement] = {}
        self._left_out: Counter[LeftOut] = Counter()

    def add(self, event: AuditEvent, part: Part | None) -> None:
        session = event.session_id
        statement = self._open.get(session)
        if part is not None:
            self._add_part(session, event, part, statement)
        elif statement is not None and event.objects is not None:
            statement.objects += event.objects
        elif statement is not None and event.type is EventType.QUERY:
            self._close(session, event)
        else:
            if event.session_id is None:
                for other in list(self._open):  # the audit log was started or stopped
                    self.end(other)
            elif statement is not None:
                self.end(session)
            self._events.append(event)

    def end(self, session: str | None) -> None:
        """Emit what is known of the statement of a session, which had no last record."""
        statement = self._open.pop(session, None)
        if statement is not None:
            if statement.last is not None:
                self._emit(statement, statement.last)
            else:
                self._emit(statement, _without_status(statement))

    def finish(self, *, hold: bool) -> Joined:
        unfinished: list[Part] = []
        for session, statement in list(self._open.items()):
            if hold:
                unfinished += statement.parts
            else:
                self.end(session)
        return Joined(self._events, unfinished, self._left_out)

    def _add_part(
        self, session: str | None, event: AuditEvent, part: Part, statement: _Statement | None
    ) -> None:
        if part.kind is Kind.TEXT:
            if statement is not None:
                statement.parts.append(part)
                _complete(statement.first, event)
            else:
                self._left_out[part.name, event.user, session] += 1
            return
        if part.kind is Kind.MESSAGE:
            if statement is None or statement.first.query != event.query:
                self.end(session)
                self._left_out[part.name, event.user, session] += 1
                return
            part = part._replace(kind=Kind.ERROR)
        if part.kind is Kind.ANY:
            self._add_any(session, event, part, statement)
            return
        if statement is not None and part.kind is Kind.LOG and not self._lasts:
            self.end(session)  # a source without last records: this is another statement
            statement = None
        if statement is None:
            statement = self._open[session] = _Statement(event, [part])
        else:
            statement.parts.append(part)
            if part.kind is Kind.LOG:
                # Such as the text that an EXECUTE runs.
                event.outcome = None
                statement.inner.append(event)
        if part.kind is Kind.ERROR and event.error_code is not None:
            statement.errors.append(event.error_code)
        elif part.kind is Kind.RESULT:
            statement.answered = True

    def _add_any(
        self, session: str | None, event: AuditEvent, part: Part, statement: _Statement | None
    ) -> None:
        if (
            statement is not None
            and event.query != statement.first.query
            and not (statement.errors or statement.answered)
        ):
            self.end(session)
            statement = None
        if statement is None:
            errors = [] if event.error_code is None else [event.error_code]
            self._open[session] = _Statement(event, [part], errors)
            return
        statement.parts.append(part)
        known = bool(statement.errors) or statement.answered
        if known or statement.last is not None:
            if event.error_code is None and statement.errors and not statement.answered:
                # An error that the statement itself has handled: this is its answer.
                statement.answered, statement.last = True, event
                return
            self._close(session, event)
        elif event.error_code is not None:
            statement.errors.append(event.error_code)
        else:
            statement.last = event

    def _close(self, session: str | None, event: AuditEvent) -> None:
        """The last record of a statement: it says how it ended."""
        self._emit(self._open.pop(session), event)

    def _emit(self, statement: _Statement, event: AuditEvent) -> None:
        self._events += statement.inner
        if event is not statement.first:
            _complete(event, statement.first)
        if statement.objects:
            event.objects = tuple(dict.fromkeys(statement.objects))
        handled = [code for code in dict.fromkeys(statement.errors) if code != event.error_code]
        if handled:
            event.detail = {**(event.detail or {}), "errors": handled}
        self._events.append(event)


def _complete(event: AuditEvent, other: AuditEvent) -> None:
    """Add to an event what another record of its statement says and its own record does not."""
    if not event.query and other.query:
        event.query, event.operation = other.query, other.operation
        event.command_class = other.command_class
    event.user = event.user or other.user
    event.source_ip = event.source_ip or other.source_ip
    event.source_host = event.source_host or other.source_host


def _without_status(statement: _Statement) -> AuditEvent:
    event = statement.first
    if statement.errors:
        event.outcome, event.error_code = Outcome.FAILURE, statement.errors[-1]
    elif not statement.answered:
        event.outcome = None
    written = dict.fromkeys(part.kind.value for part in statement.parts if part.kind is not Kind.ANY)
    event.detail = {**(event.detail or {}), "records": [*written]}
    return event
