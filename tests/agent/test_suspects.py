"""Who is held back after the process has died, and when each is tried again."""

import os
from collections.abc import Iterator

import pytest
from dbaudit.agent.marks import Mark, Marks
from dbaudit.agent.suspects import Suspects

DIED = "was ended by SIGABRT"
KILLED = "was ended by SIGKILL"


class Lives:
    """One agent process after the other: ``inside`` has the databases that are in a call when one dies."""

    def __init__(self, databases: set[str], descriptor: int) -> None:
        self.databases = databases
        self.now = 1000.0
        self._descriptor = descriptor
        self._begin(None)

    def _begin(self, died: str | None) -> None:
        self.suspects = Suspects(Marks(self._descriptor), died, lambda: self.now)
        self.next_seconds = self.suspects.advance(self.databases)

    def running(self) -> set[str]:
        return {name for name in self.databases if self.suspects.may_start(name)}

    def dies(self, *inside: str, died: str = DIED, collected: tuple[str, ...] = ()) -> None:
        """The process dies with what runs: some are in a call, some have ``collected`` before."""
        assert set(inside) <= self.running()
        marks = Marks(self._descriptor)
        for name in self.running():
            mark: Mark = marks.take(name)
            if name in collected:
                mark.has_collected()
            if name in inside:
                mark.enter("read")
        self._begin(died)

    def is_killed(self, *inside: str, collected: tuple[str, ...] = ()) -> None:
        """The same from outside."""
        self.dies(*inside, died=KILLED, collected=collected)

    def lasts(self, seconds: float) -> None:
        self.now += seconds
        self.next_seconds = self.suspects.advance(self.databases)

    def until_tried(self, database: str) -> float:
        """The seconds until the database runs again, as long as nobody dies."""
        before = self.now
        while database not in self.running():
            assert 0 < self.next_seconds < 4000, "it would never be tried"
            self.lasts(self.next_seconds)
        return self.now - before


@pytest.fixture
def descriptor() -> Iterator[int]:
    descriptor = os.memfd_create("marks")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def lives(descriptor: int) -> Lives:
    return Lives(set("abcdefgh"), descriptor)


def test_one_that_was_in_a_call_is_held_back_alone_and_tried_after_pauses_that_grow(lives: Lives) -> None:
    pauses = []
    for _death in range(14):
        lives.dies("a")
        assert lives.running() == set("bcdefgh")
        assert "in read()" in lives.suspects.explanation("a")[0].message
        pauses.append(lives.until_tried("a"))
    assert pauses[:4] == [5, 5, 8, 16], "the others had no time in between"
    assert max(pauses) == pauses[-1] == 3600


def test_one_that_has_behaved_for_an_hour_is_not_made_to_wait_longer_and_longer(lives: Lives) -> None:
    for _death in range(3):
        lives.dies("a")
        lives.until_tried("a")
        lives.lasts(3700)
    lives.dies("a")
    assert lives.until_tried("a") == 5


def test_several_are_tried_in_turn_until_the_one_is_found_and_the_others_are_free(lives: Lives) -> None:
    lives.dies("a", "b", "c", "d", "e")
    rounds = 0
    while lives.running() != set("abcdefgh") - {"c"}:
        assert set("fgh") <= lives.running(), "one that was in no call had to wait"
        rounds += 1
        assert rounds < 10, "the culprit is not found"
        if "c" in lives.running():
            lives.dies(*lives.running())
        else:
            lives.lasts(lives.next_seconds)
    assert "in read()" in lives.suspects.explanation("c")[0].message


def test_a_single_death_in_no_call_holds_nobody_back(lives: Lives) -> None:
    lives.dies()
    assert lives.running() == set("abcdefgh")


def test_a_thread_that_kills_whoever_is_in_a_call_is_found_in_the_end(lives: Lives) -> None:
    """Database h ends the process by itself, whenever it runs; a call of another one is often under way."""
    deaths = 0
    while lives.running() != set("abcdefg"):
        deaths += 1
        assert deaths < 20, "the culprit is not found"
        if "h" in lives.running():
            innocent = sorted(lives.running() - {"h"})[:1]
            lives.dies(*(innocent if deaths == 1 else ()))
        else:
            lives.lasts(lives.next_seconds)
    assert not lives.suspects.may_start("h")


def test_thousand_databases_are_narrowed_down_in_few_deaths(descriptor: int) -> None:
    names = {f"db_{number}" for number in range(1000)}
    lives = Lives(names, descriptor)
    deaths = 0
    while lives.running() != names - {"db_7"}:
        assert deaths < 14, "too many deaths"
        if "db_7" in lives.running():
            deaths += 1
            lives.dies()
        else:
            lives.lasts(lives.next_seconds)


def test_databases_that_are_not_held_any_more_are_forgotten(lives: Lives) -> None:
    lives.dies("a")
    lives.databases.remove("a")
    lives.lasts(1)
    lives.databases.add("a")
    assert lives.suspects.may_start("a")


def test_process_that_dies_before_it_marks_anything_leaves_the_judgement_as_it_was(lives: Lives) -> None:
    lives.dies("a")
    for _death in range(3):
        lives._begin(DIED)
    assert lives.running() == set("bcdefgh")


def test_more_marks_than_places_are_no_failure() -> None:
    marks = Marks()
    taken = [marks.take(f"db_{number}") for number in range(9000)]
    for mark in taken:
        mark.enter("read")
        mark.leave()
        marks.give_back(mark)
    assert marks.take("db").place != marks.take("db").place, "two threads share a place though many are free"


def test_kills_from_outside_hold_no_database_back_that_collects_in_between(lives: Lives) -> None:
    for _kill in range(30):
        lives.is_killed("a", "b", collected=("a", "b", "c"))
        assert lives.running() == set("abcdefgh")
        lives.lasts(2)


@pytest.mark.parametrize("signal", ["SIGKILL", "SIGTERM", "SIGHUP", "signal 40"])
def test_one_kill_or_two_hold_nobody_back_whatever_was_under_way(lives: Lives, signal: str) -> None:
    for _kill in range(2):
        lives.dies("a", died=f"was ended by {signal}")
        assert lives.running() == set("abcdefgh")


def test_one_that_never_gets_further_than_into_a_call_is_held_back_after_three_kills(lives: Lives) -> None:
    for _kill in range(3):
        assert lives.running() == set("abcdefgh")
        lives.is_killed("a", "b", collected=("b",))
    assert lives.running() == set("bcdefgh")
    error, _seconds = lives.suspects.explanation("a")
    assert "SIGKILL in read()" in error.message
    assert "if nobody ended the process" in (error.remedy or "").lower()


def test_pause_after_kills_stays_short_however_many_there_are(lives: Lives) -> None:
    for _kill in range(3):
        lives.is_killed("a")
    pauses = []
    for _kill in range(10):
        pauses.append(lives.until_tried("a"))
        lives.is_killed("a")
    assert max(pauses) <= 15


def test_kill_that_comes_while_a_suspect_is_on_trial_accuses_nobody(lives: Lives) -> None:
    lives.dies("a")
    lives.until_tried("a")
    lives.is_killed("a", "b", collected=("b",))
    assert lives.until_tried("a") <= 5
    lives.lasts(10)
    assert lives.running() == set("abcdefgh")


def test_two_that_end_the_process_are_not_tried_before_the_others_had_their_time(lives: Lives) -> None:
    lives.dies("a")
    lives.now += 100
    lives.dies("b")
    lives.now += 100  # the parent waits before it starts the next process: both would be due at once
    lives._begin(DIED)
    assert lives.running() == set("cdefgh")
    assert lives.next_seconds == 5
    lives.lasts(5)
    assert len(lives.running() & {"a", "b"}) == 1
