"""The comparison itself: each way in which events can be wrong has its own name."""

from dbaudit.core.event import AuditEvent, EventType, Outcome

from tests.truth.facts import Fact, Wrong, differences

QUERY, LOGIN, REFUSED = EventType.QUERY, EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED


def did(
    text: str | None, code: str | None = None, user: str = "ada", kind: EventType = QUERY, **more
) -> Fact:
    return Fact(kind=kind, user=user, text=text, error_code=code, **more)


def told(
    text: str | None, code: str | None = None, user: str = "ada", kind: EventType = QUERY, **more
) -> AuditEvent:
    outcome = Outcome.FAILURE if code else None
    return AuditEvent("k", kind, 0, user=user, query=text, error_code=code, outcome=outcome, **more)


def wrong(facts: list[Fact], events: list[AuditEvent]) -> list[tuple[Wrong, str | None]]:
    return [
        (d.wrong, d.event.query if d.event else d.fact and d.fact.text) for d in differences(facts, events)
    ]


def test_events_that_are_what_happened_differ_in_nothing() -> None:
    facts = [did(None, kind=LOGIN), did("a"), did("b", "42501"), did("a"), did(None, "28P01", kind=REFUSED)]
    events = [
        told(None, kind=LOGIN),
        told("a"),
        told("b", "42501"),
        told("a", rows_affected=1),
        told(None, "28P01", kind=REFUSED),
        told("of somebody else", user="zoe"),
    ]
    assert wrong(facts, events) == []


def test_refused_log_ins_that_are_recorded_in_another_order_differ_in_nothing() -> None:
    facts = [did(None, "1044", kind=REFUSED, database=name) for name in ("shop", "hr", "shop")]
    events = [told(None, "1044", kind=REFUSED, database=name) for name in ("hr", "shop", "shop")]
    assert wrong(facts, events) == []


def test_missing_statement_is_named() -> None:
    assert wrong([did("a"), did("b"), did("c")], [told("a"), told("c")]) == [(Wrong.MISSING, "b")]


def test_statement_that_is_there_twice_is_named() -> None:
    assert wrong([did("a"), did("b")], [told("a"), told("b"), told("b")]) == [(Wrong.TWICE, "b")]


def test_statement_that_nobody_ran_is_named() -> None:
    assert wrong([did("a")], [told("a"), told("forged")]) == [(Wrong.UNKNOWN, "forged")]


def test_failure_of_a_statement_that_succeeded_is_a_wrong_outcome() -> None:
    assert wrong([did("a"), did("b")], [told("a"), told("b", "23505")]) == [(Wrong.OUTCOME, "b")]


def test_success_of_a_statement_that_failed_is_a_wrong_outcome() -> None:
    assert wrong([did("a", "23505")], [told("a")]) == [(Wrong.OUTCOME, "a")]


def test_another_error_code_is_a_wrong_outcome() -> None:
    assert wrong([did("a", "23505")], [told("a", "42501")]) == [(Wrong.OUTCOME, "a")]


def test_failure_on_the_statement_before_the_one_that_failed_is_pinned_on_another() -> None:
    found = wrong([did("a"), did("b", "42501")], [told("a", "42501")])
    assert found == [(Wrong.PINNED, "a"), (Wrong.MISSING, "b")]


def test_failure_on_the_first_of_two_same_texts_is_pinned_on_another() -> None:
    found = wrong([did("a"), did("a", "23505")], [told("a", "23505"), told("a")])
    assert (Wrong.PINNED, "a") in found


def test_statement_of_another_user_is_pinned_on_another() -> None:
    found = wrong([did("a"), did("b", user="bob")], [told("a"), told("b")])
    assert found == [(Wrong.PINNED, "b"), (Wrong.MISSING, "b")]


def test_refused_log_in_that_became_a_successful_one_is_named() -> None:
    facts = [did(None, kind=LOGIN), did(None, "28000", kind=REFUSED)]
    found = [d.wrong for d in differences(facts, [told(None, kind=LOGIN), told(None, kind=LOGIN)])]
    assert found == [Wrong.MISSING, Wrong.TWICE]


def test_what_the_source_may_leave_out_is_not_missing_and_not_twice() -> None:
    facts = [did("a"), did("part", sure=False), did("b")]
    assert wrong(facts, [told("a"), told("b")]) == []
    assert wrong(facts, [told("a"), told("part"), told("b")]) == []


def test_parts_may_come_before_or_after_their_statement() -> None:
    facts = [did("call f()"), did("part of f", part=True), did("b")]
    assert wrong(facts, [told("part of f"), told("call f()"), told("b")]) == []
    assert wrong(facts, [told("call f()"), told("b"), told("part of f")]) == []
    assert wrong(facts, [told("call f()"), told("b")]) == [(Wrong.MISSING, "part of f")]


def test_failure_of_one_of_several_statements_may_have_the_text_of_all() -> None:
    facts = [did("a"), did("b", "42501", whole="a; b")]
    assert wrong(facts, [told("a"), told("a; b", "42501")]) == []
    assert wrong(facts, [told("a"), told("b", "42501")]) == []
    assert wrong(facts, [told("a"), told("a; b")]) == [(Wrong.OUTCOME, "a; b")]


def test_failure_that_the_source_may_be_silent_about_is_no_success_and_no_other_failure() -> None:
    fact = did("part", "23505", silent=True)
    assert wrong([fact], [told("part")]) == []
    assert wrong([fact], [told("part", "23505")]) == []
    assert wrong([fact], [told("part", "42501")]) == [(Wrong.OUTCOME, "part")]


def test_database_rows_and_parameters_are_compared_where_the_client_knows_them() -> None:
    fact = did("a", database="shop", rows=2, parameters=("1",))
    event = told("a", database="hr", rows_affected=3, parameters=("2",))
    assert [d.wrong for d in differences([fact], [event])] == [Wrong.DATABASE, Wrong.ROWS, Wrong.PARAMETERS]
    assert wrong([did("a")], [event]) == []


def test_ends_of_sessions_may_be_recorded_in_another_order_than_statements() -> None:
    facts = [did(None, kind=LOGIN), did("a"), did(None, kind=LOGIN), did("b")]
    events = [told("a"), told(None, kind=LOGIN), told(None, kind=LOGIN), told("b")]
    assert wrong(facts, events) == []
