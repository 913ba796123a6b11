"""What happens on the server becomes events: all of it, in order, once, and nothing of the agent's own."""

from __future__ import annotations

import itertools

import pytest

from dbaudit.core.clock import now_us
from dbaudit.engine import AuditEvent, Capability, CommandClass, EventType, Outcome
from dbaudit.testing.collecting import Collecting
from dbaudit.testing.monitored import Monitored
from dbaudit.testing.outcomes import within

_LOGGED_IN = (EventType.LOGIN_SUCCESS, EventType.CONNECTION)
_CLOCK_TOLERANCE_US = 60_000_000
_STATEMENTS = 20
_numbers = itertools.count(now_us() % 1_000_000_000)


def marks(number: int) -> list[str]:
    """Texts that no statement has held before."""
    return [f"mark {next(_numbers)}" for _each in range(number)]


class CollectingChecks:
    """The events of log-ins, statements and log-outs."""

    def test_reading_when_nothing_is_waiting_returns_at_once(self, monitored: Monitored) -> None:
        with Collecting(monitored) as reading:
            for _again in range(3):
                within(monitored.deadline_seconds, "read()", reading.read)

    def test_login_is_reported_with_its_user(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.CONNECTIONS)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                reading.until(lambda: reading.of(visitor.user, *_LOGGED_IN), "the log-in")
            finally:
                visitor.leave()
            event = reading.of(visitor.user, *_LOGGED_IN)[0]
            assert event.outcome is not Outcome.FAILURE
            _check_time(monitored, event)

    def test_logout_is_reported_with_its_user(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.DISCONNECTS)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            visitor.leave()
            reading.until(lambda: reading.of(visitor.user, EventType.DISCONNECT), "the log-out")
            _check_time(monitored, reading.of(visitor.user, EventType.DISCONNECT)[0])

    def test_failed_login_is_reported_with_its_user(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.LOGIN_FAILURES)
        with Collecting(monitored) as reading:
            user = monitored.fail_to_log_in()
            reading.until(lambda: reading.of(user, EventType.LOGIN_FAILED), "the failed log-in")
            failures = reading.of(user, EventType.LOGIN_FAILED)
            assert len(failures) == 1
            assert failures[0].outcome is Outcome.FAILURE
            _check_time(monitored, failures[0])

    def test_statement_is_reported_once_with_its_user_and_text(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                first, last = (visitor.run(mark) for mark in marks(2))
                event = reading.until_query(first)
                reading.until_query(last)
            finally:
                visitor.leave()
            assert [query for query in reading.queries() if query in (first, last)] == [first, last]
            assert event.type is EventType.QUERY
            assert event.user == visitor.user
            assert event.outcome is not Outcome.FAILURE
            _check_time(monitored, event)

    def test_every_statement_has_an_operation_and_a_class(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                reading.until_query(visitor.run(*marks(1)))
            finally:
                visitor.leave()
            statements = [e for e in reading.events if e.type is EventType.QUERY and e.query is not None]
            if all(event.query is None for event in reading.events):
                pytest.skip("the source records no text of statements")
            assert statements
            unclear = [e for e in statements if not e.operation or e.command_class not in set(CommandClass)]
            assert unclear == []

    def test_statements_come_in_the_order_in_which_they_were_run(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                run = [visitor.run(mark) for mark in marks(_STATEMENTS)]
                reading.until_query(run[-1])
            finally:
                visitor.leave()
            assert [query for query in reading.queries() if query in set(run)] == run

    def test_text_of_any_characters_comes_as_it_was(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                texts = zip(marks(len(monitored.texts)), monitored.texts, strict=True)
                run = [visitor.run(f"{mark}: {text}") for mark, text in texts]
                (end,) = (visitor.run(mark) for mark in marks(1))
                reading.until_query(end)
            finally:
                visitor.leave()
            assert [query for query in reading.queries() if query in set(run)] == run
            assert reading.rejected == []

    def test_every_event_has_a_key_of_its_own(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            for visitor in (monitored.visit(), monitored.visit()):
                # The same statement several times: the events differ only by their place.
                run = [visitor.run("the same") for _again in range(_STATEMENTS)]
                visitor.leave()
            reading.until(lambda: reading.queries().count(run[0]) >= 2 * _STATEMENTS, "every statement")
            assert reading.queries().count(run[0]) == 2 * _STATEMENTS
            keys = reading.keys()
            assert len(set(keys)) == len(keys)
            assert all(event.key for event in reading.events)

    def test_what_the_collector_does_itself_is_left_out(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        user = monitored.target().username
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                first, last = marks(2)
                reading.until_query(visitor.run(first))
                before = len(reading.events)
                with monitored.engine.open(monitored.target()) as other:
                    other.test()
                    other.health()
                reading.session.test()
                reading.session.health()
                reading.reopen()
                reading.until_query(visitor.run(last))
            finally:
                visitor.leave()
            own = [event for event in reading.events[before:] if event.user == user != visitor.user]
            assert own == []

    def test_rotation_loses_and_repeats_nothing(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                before, unread, after = marks(3)
                run = [visitor.run(before)]
                reading.until_query(run[0])
                run.append(visitor.run(unread))
                monitored.rotate()
                run.append(visitor.run(after))
                reading.until_query(run[-1])
                monitored.rotate()
                reading.reopen()
                (last,) = (visitor.run(mark) for mark in marks(1))
                reading.until_query(last)
            finally:
                visitor.leave()
            assert [query for query in reading.queries() if query in {*run, last}] == [*run, last]
            assert reading.gaps == []

    def test_loss_at_the_source_is_reported_once_and_collecting_goes_on(self, monitored: Monitored) -> None:
        _needs(monitored, Capability.QUERIES)
        with Collecting(monitored) as reading:
            visitor = monitored.visit()
            try:
                before, lost, after, last = marks(4)
                reading.until_query(visitor.run(before))
                visitor.run(lost)
                monitored.lose()
                run = visitor.run(after)
                reading.until(lambda: reading.gaps, "the gap")
                reading.until_query(run)
                reading.reopen()
                reading.until_query(visitor.run(last))
            finally:
                visitor.leave()
            assert len(reading.gaps) == 1
            gap = reading.gaps[0]
            assert gap.type is EventType.GAP
            assert (gap.detail or {}).get("reason"), "a gap says what is known of it"
            assert gap.key
            assert gap.time_us > 0


def _needs(monitored: Monitored, capability: Capability) -> None:
    if capability not in monitored.engine.capabilities:
        pytest.skip(f"the engine has not the capability {capability.value}")


def _check_time(monitored: Monitored, event: AuditEvent) -> None:
    """That a time of a zone was not taken for one of another."""
    if monitored.live:
        assert abs(event.time_us - now_us()) < _CLOCK_TOLERANCE_US, f"the event is of another time: {event}"
