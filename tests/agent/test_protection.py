"""Protection: what an event is stored as does not depend on what was protected before it."""

import pytest
from dbaudit.agent.protection import protect
from dbaudit.core.database import AuditOptions
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.statements import Fingerprints, mask
from hypothesis import example, given, settings
from hypothesis import strategies as st

STATEMENTS = st.text(alphabet="select from t where a=$1?'\"-/*\\E\n0 7é", max_size=40)


def protected(
    statement: str, options: AuditOptions, fingerprints: Fingerprints
) -> tuple[str | None, str | None]:
    event = AuditEvent(key="1", type=EventType.QUERY, time_us=0, query=statement)
    protect([event], options, fingerprints)
    return event.query, event.query_hash


@given(st.lists(STATEMENTS, max_size=6), STATEMENTS)
@settings(max_examples=300, deadline=None)
@example(["select 7"], "select ?")
@example(["select $1", "select $1"], "select $1")
def test_a_statement_is_masked_and_hashed_alike_whatever_came_before(
    earlier: list[str], statement: str
) -> None:
    fingerprints = Fingerprints()
    for one in [*earlier, *[mask(one) for one in earlier]]:
        protected(one, AuditOptions(), fingerprints)
    expected = (mask(statement), Fingerprints().of(mask(statement)))
    assert protected(statement, AuditOptions(), fingerprints) == expected
    assert protected(statement, AuditOptions(), fingerprints) == expected


@pytest.mark.parametrize("statement", ["select $1", "select 1", "alter role a password 'tiger'", ""])
@pytest.mark.parametrize("masking", [True, False])
def test_the_hash_is_the_same_whatever_of_the_statement_is_stored(statement: str, masking: bool) -> None:
    fingerprints = Fingerprints()
    _ignored, expected = protected(statement, AuditOptions(), fingerprints)
    for capturing in (True, False):
        options = AuditOptions(mask_sensitive_data=masking, capture_queries=capturing)
        text, found = protected(statement, options, fingerprints)
        assert found == expected
        assert (text is None) == (not capturing)
        assert "tiger" not in (text or "")


def test_remembered_statements_never_take_more_than_their_room() -> None:
    fingerprints = Fingerprints(remembered_characters=100_000)
    fingerprints.remember_bare("select a from t", "0" * 16)
    fingerprints.remember_bare("x" * 2000, "1" * 16)
    assert fingerprints.of_bare("select a from t") == "0" * 16
    assert fingerprints.of_bare("x" * 2000) is None
    for number in range(1000):
        fingerprints.of(f"select a from t{number}")
    assert fingerprints.of_bare("select a from t") is None
