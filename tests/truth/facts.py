"""What a client knows that it did, and where the events say something else."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dbaudit.core.event import AuditEvent, EventType, Outcome


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that a client did, and how it ended.

    ``text`` is the statement as the event has to give it; None for what is no statement. Where the source may
    name only all that was sent together with it, that is ``whole``. ``error_code`` is that of the failure,
    None for what ended well; ``silent`` says that the source may not say that it failed. ``database``,
    ``rows`` and ``parameters`` are compared where they are not None. A fact that is not ``sure`` may have no
    event: the source may leave it out. A ``part`` is what a statement runs inside: its text is that of no
    other statement, and it may come before or after the statement that it is a part of.
    """

    kind: EventType
    user: str
    text: str | None = None
    error_code: str | None = None
    database: str | None = None
    rows: int | None = None
    parameters: tuple[str | None, ...] | None = None
    whole: str | None = None
    silent: bool = False
    sure: bool = True
    part: bool = False


class Wrong(StrEnum):
    """What can be wrong with an event, or with the lack of one."""

    MISSING = "missing"
    TWICE = "twice"
    UNKNOWN = "nobody did this"
    OUTCOME = "wrong outcome"
    PINNED = "pinned on another"
    DATABASE = "wrong database"
    ROWS = "wrong number of rows"
    PARAMETERS = "wrong parameters"


@dataclass(frozen=True)
class Difference:
    """One thing that is wrong: the fact, the event, or both."""

    wrong: Wrong
    fact: Fact | None
    event: AuditEvent | None

    def __repr__(self) -> str:
        fact = self.fact and _named(self.fact.kind, self.fact.user, self.fact.text, self.fact.error_code)
        event = self.event and (
            f"{_named(self.event.type, self.event.user, self.event.query, self.event.error_code)}"
            f" {self.event.outcome or 'no outcome'} at {self.event.key}"
        )
        return f"\n  {self.wrong.upper()}: it was {fact or 'nothing'}; the event is {event or 'not there'}"


def _named(kind: EventType, user: str | None, text: str | None, code: str | None) -> str:
    return f"{kind.value} of {user}: {text!r}{f' failed with {code}' if code else ''}"


def user_of(event: AuditEvent) -> str | None:
    return event.user


def differences(
    facts: Iterable[Fact],
    events: Iterable[AuditEvent],
    *,
    kinds: frozenset[EventType] | None = None,
    owner_of: Callable[[AuditEvent], str | None] = user_of,
) -> list[Difference]:
    """Where the events are not what happened; empty where they are.

    Both are in the order in which they happened, user by user. Events of kinds without any fact are left out,
    or of others than ``kinds``; so are those of users without any. ``owner_of`` says whose an event is, where
    that is not its ``user``.
    """
    facts = list(facts)
    kinds = frozenset(fact.kind for fact in facts) if kinds is None else kinds
    users = {fact.user for fact in facts}
    told = [event for event in events if event.type in kinds and owner_of(event) in users]
    found: list[Difference] = []
    for user in sorted(users):
        done = [fact for fact in facts if fact.user == user]
        seen = [event for event in told if owner_of(event) == user]
        texts = {text for fact in done if fact.part for text in (fact.text, fact.whole) if text is not None}
        parts = [event for event in seen if event.query in texts]
        found += _compared([fact for fact in done if fact.part], parts, in_order=False)
        # The end of a session may be recorded after the beginning of the next: only statements are in order.
        for kind in sorted(kinds):
            found += _compared(
                [fact for fact in done if fact.kind is kind and not fact.part],
                [event for event in seen if event.type is kind and event.query not in texts],
                in_order=kind is EventType.QUERY,
            )
    return _pinned(found)


def _compared(facts: list[Fact], events: list[AuditEvent], *, in_order: bool) -> list[Difference]:
    found: list[Difference] = []
    done = {fact.text for fact in facts} | {fact.whole for fact in facts}
    for fact, event in _aligned(facts, events) if in_order else _matched(facts, events):
        if fact is None:
            assert event is not None
            found.append(Difference(Wrong.TWICE if event.query in done else Wrong.UNKNOWN, None, event))
        elif event is None:
            if fact.sure:
                found.append(Difference(Wrong.MISSING, fact, None))
        else:
            found += [Difference(wrong, fact, event) for wrong in _wrong(fact, event)]
    return found


def _matched(
    facts: Sequence[Fact], events: Sequence[AuditEvent]
) -> list[tuple[Fact | None, AuditEvent | None]]:
    """Each fact beside the event that is most like it, whatever their order; None beside what has no pair."""
    left, pairs = list(events), []
    for wanted in (_is_all_of_it, _is_it, _same_text):
        for sure in (True, False):
            for fact in [fact for fact in facts if fact.sure is sure]:
                event = next((event for event in left if wanted(fact, event)), None)
                if event is not None:
                    left.remove(event)
                    pairs.append((fact, event))
            facts = [fact for fact in facts if all(fact is not paired for paired, _event in pairs)]
    return [*pairs, *((fact, None) for fact in facts), *((None, event) for event in left)]


def _is_all_of_it(fact: Fact, event: AuditEvent) -> bool:
    return _same_text(fact, event) and not any(_wrong(fact, event))


def _is_it(fact: Fact, event: AuditEvent) -> bool:
    return _same_text(fact, event) and _ended_alike(fact, event)


def _wrong(fact: Fact, event: AuditEvent) -> Iterable[Wrong]:
    if not _ended_alike(fact, event):
        yield Wrong.OUTCOME
    if fact.database is not None and event.database != fact.database:
        yield Wrong.DATABASE
    if fact.rows is not None and event.rows_affected != fact.rows:
        yield Wrong.ROWS
    if fact.parameters is not None and event.parameters != fact.parameters:
        yield Wrong.PARAMETERS


def _ended_alike(fact: Fact, event: AuditEvent) -> bool:
    """An event without an outcome is of something that the source did not see fail."""
    failed = event.outcome is Outcome.FAILURE
    if fact.silent and event.outcome is None:
        return event.error_code is None
    return failed == (fact.error_code is not None) and event.error_code == fact.error_code


_SAME_TEXT, _SAME_END, _SURE = 4, 2, 1


def _aligned(
    facts: Sequence[Fact], events: Sequence[AuditEvent]
) -> list[tuple[Fact | None, AuditEvent | None]]:
    """The longest common run of both in their order, by text and then by outcome; None beside what is in one
    of them only.
    """
    # best[i][j]: the weight of what the facts from i on have in common with the events from j on.
    best = [[0] * (len(events) + 1) for _fact in range(len(facts) + 1)]
    for i in range(len(facts) - 1, -1, -1):
        for j in range(len(events) - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if _same_text(facts[i], events[j]):
                best[i][j] = max(best[i][j], best[i + 1][j + 1] + _weight(facts[i], events[j]))
    pairs: list[tuple[Fact | None, AuditEvent | None]] = []
    i = j = 0
    while i < len(facts) and j < len(events):
        same = _same_text(facts[i], events[j])
        if same and best[i][j] == best[i + 1][j + 1] + _weight(facts[i], events[j]):
            pairs.append((facts[i], events[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            pairs.append((facts[i], None))
            i += 1
        else:
            pairs.append((None, events[j]))
            j += 1
    pairs += [(fact, None) for fact in facts[i:]]
    return pairs + [(None, event) for event in events[j:]]


def _same_text(fact: Fact, event: AuditEvent) -> bool:
    return event.query == fact.text or (fact.whole is not None and event.query == fact.whole)


def _weight(fact: Fact, event: AuditEvent) -> int:
    return _SAME_TEXT + _SAME_END * _ended_alike(fact, event) + _SURE * fact.sure


def _pinned(found: list[Difference]) -> list[Difference]:
    """A failure on the wrong event, and a missing event that another user has, are one thing and not two."""
    unhappy = {
        (d.fact.user, d.fact.error_code)
        for d in found
        if d.fact is not None and d.fact.error_code and d.wrong in (Wrong.MISSING, Wrong.OUTCOME)
    }
    lost = {(d.fact.kind, d.fact.text) for d in found if d.fact is not None and d.wrong is Wrong.MISSING}
    named = []
    for one in found:
        event, fact = one.event, one.fact
        if event is not None and one.wrong is Wrong.OUTCOME and fact is not None:
            if (fact.user, event.error_code) in unhappy and not fact.error_code:
                one = Difference(Wrong.PINNED, fact, event)
        elif event is not None and fact is None and (event.type, event.query) in lost:
            one = Difference(Wrong.PINNED, None, event)
        named.append(one)
    return named
