"""Kept answers: right while nothing changes, gone with any change, bounded."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import pytest
from dbaudit.api.answer_cache import AnswerCache, Kept
from dbaudit.core.errors import not_found
from dbaudit.state import State
from dbaudit.state.changes import Changes

from tests.api.conftest import Api, opened_state


class Stamps(Changes):
    """A stamp that the test sets."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1

    def stamp(self) -> Hashable:
        return self.now

    def close(self) -> None:
        pass


def test_an_answer_is_made_once_while_nothing_changes() -> None:
    made: list[str] = []

    def make() -> Kept:
        made.append("x")
        return Kept(b"%d" % len(made))

    stamps = Stamps()
    cache = AnswerCache(stamps)
    assert [cache.get("a", make).body for ignored in range(3)] == [b"1", b"1", b"1"]
    assert cache.get("b", make).body == b"2"
    stamps.now = 2
    assert cache.get("a", make).body == b"3"
    assert cache.get("b", make).body == b"4"


def test_a_change_while_an_answer_is_made_makes_it_anew() -> None:
    stamps = Stamps()
    cache = AnswerCache(stamps)

    def overtaken() -> Kept:
        stamps.now = 2  # the answer may be from before this change, or from after it
        return Kept(b"old")

    assert cache.get("a", overtaken).body == b"old"
    assert cache.get("a", lambda: Kept(b"new")).body == b"new"


def test_an_error_is_not_kept() -> None:
    cache = AnswerCache(Stamps())

    def fail() -> Kept:
        raise not_found("database", "x")

    with pytest.raises(Exception, match="no database"):
        cache.get("a", fail)
    assert cache.get("a", lambda: Kept(b"there")).body == b"there"


def test_the_answers_kept_are_bounded() -> None:
    cache = AnswerCache(Stamps(), max_bytes=100)
    for number in range(50):
        cache.get(number, lambda: Kept(b"x" * 30))
        assert sum(len(kept.body) for kept in cache._kept[1].values()) <= 100


def test_the_stamp_changes_with_every_commit_of_anybody(api_on_both: Api, tmp_path: Path) -> None:
    state: State = api_on_both.state
    url = state.backend.engine.url
    if state.backend.is_sqlite:
        text = f"sqlite:///{state.backend.path}"
    else:
        text = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with opened_state(text, tmp_path) as other:
        for writer in (state, other):
            before = state.changes.stamp()
            writer.settings.put("x", 1)
            after = state.changes.stamp()
            assert after != before
        if (
            state.backend.is_sqlite
        ):  # on PostgreSQL others' transactions count too, which costs an answer at most
            assert state.changes.stamp() == after
            state.databases.all()
            assert state.changes.stamp() == after
