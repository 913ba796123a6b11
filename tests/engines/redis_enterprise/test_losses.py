"""Losses that the senders' own numbers show, and that no other thing is taken for one."""

from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engines.redis_enterprise import registry

from tests.engines.redis_enterprise.clusters import Collecting, connected, target
from tests.engines.redis_enterprise.records import FIRST_GENERATION, SECOND_GENERATION, numbered


def lost(gaps: list[AuditEvent]) -> list[tuple[int, int, int]]:
    """How many records each gap says are lost, and the first and last of their numbers."""
    assert all(gap.type is EventType.GAP for gap in gaps)
    details = [gap.detail or {} for gap in gaps]
    return [(d["lost_records"], d["first_lost"], d["last_lost"]) for d in details]


def sent(*connections: bytes) -> list[tuple[int, int, int]]:
    """What is found lost when each of some streams comes over a connection of its own, after the other."""
    place = target()
    with Collecting(place) as collecting:
        wanted = 0
        for stream in connections:
            with connected(place) as node:
                node.sendall(stream)
            wanted += stream.count(b'"ts"')
            collecting.until_events(wanted)
        for _again in range(3):
            collecting.step()
        return lost(collecting.gaps)


def numbers(*found: int, worker: int = 0) -> bytes:
    return b"\n".join(numbered(number, worker) for number in found)


def test_records_without_numbers_show_no_loss() -> None:
    assert sent(b"".join(FIRST_GENERATION)) == []


def test_the_documented_example_has_lost_its_number_2() -> None:
    assert sent(b"".join(SECOND_GENERATION)) == [(1, 2, 2)]


def test_numbers_in_sequence_from_any_start_show_no_loss() -> None:
    assert sent(numbers(7000, 7001, 7002)) == []


def test_missing_numbers_are_told_each_with_their_number() -> None:
    assert sent(numbers(0, 1, 5, 6, 100)) == [(3, 2, 4), (93, 7, 99)]


def test_each_worker_has_numbers_of_its_own() -> None:
    assert sent(numbers(5, 6) + numbers(90, worker=1) + numbers(7) + numbers(92, worker=1)) == [(1, 91, 91)]


def test_what_was_lost_between_two_connections_of_a_worker_is_told() -> None:
    assert sent(numbers(1, 2), numbers(3), numbers(9)) == [(5, 4, 8)]


def test_a_worker_that_starts_anew_has_lost_nothing() -> None:
    assert sent(numbers(500, 501), numbers(0, 1)) == []


def test_a_worker_that_starts_anew_and_is_heard_late_has_lost_what_came_before() -> None:
    assert sent(numbers(500, 501), numbers(4, 5)) == [(4, 0, 3)]


def test_a_record_that_is_sent_twice_is_no_loss_and_has_one_key() -> None:
    place = target()
    with Collecting(place) as collecting:
        for stream in (numbers(1, 2), numbers(2, 3)):
            with connected(place) as node:
                node.sendall(stream)
            collecting.until_events(len(collecting.events) + 2)
        assert lost(collecting.gaps) == []
        assert len({event.key for event in collecting.events}) == 3


def test_workers_of_two_nodes_behind_one_address_are_not_taken_for_one() -> None:
    place = target()
    with Collecting(place) as collecting, connected(place) as one, connected(place) as two:
        for number in range(20):
            one.sendall(numbered(1000 + number))
            two.sendall(numbered(5 + number))
            collecting.until_events(2 * number + 2)
        assert lost(collecting.gaps) == []
        one.sendall(numbered(1025))
        collecting.until_events(41)
        assert lost(collecting.gaps) == [(5, 1020, 1024)]


def test_what_an_old_connection_left_behind_is_read_before_the_new_one() -> None:
    place = target()
    with Collecting(place) as collecting:
        for start in range(0, 2000, 100):  # connection after connection while nobody reads
            with connected(place) as node:
                node.sendall(numbers(*range(start, start + 100)))
        collecting.until_events(2000)
        assert lost(collecting.gaps) == []
        assert [(e.detail or {})["audit_seq"] for e in collecting.events] == list(range(2000))


def test_what_was_lost_while_no_agent_ran_is_told_by_the_next_one() -> None:
    place = target()
    with Collecting(place) as before:
        with connected(place) as node:
            node.sendall(numbers(40, 41))
        before.until_events(2)
        before.finish()
    registry._resting.clear()  # as in a new process
    with Collecting(place, before.cursor) as after, connected(place) as node:
        node.sendall(numbers(50))
        after.until_events(1)
        assert lost(after.gaps) == [(8, 42, 49)]


def test_what_another_agent_collected_meanwhile_is_no_loss() -> None:
    place = target()
    with Collecting(place) as first, connected(place) as node:
        node.sendall(numbers(1, 2))
        first.until_events(2)
        first.finish()
    resting = dict(registry._resting)
    registry._resting.clear()  # another agent
    with Collecting(place, first.cursor) as second, connected(place) as node:
        node.sendall(numbers(3, 4))
        second.until_events(2)
        second.finish()
    assert lost(second.gaps) == []
    registry._resting.update(resting)  # and back on the first
    with Collecting(place, second.cursor) as third, connected(place) as node:
        node.sendall(numbers(5, 9))
        third.until_events(2)
    assert lost(third.gaps) == [(3, 6, 8)]


def test_nonsense_in_the_place_of_numbers_is_no_loss_and_costs_no_memory() -> None:
    place = target()
    with Collecting(place) as collecting, connected(place) as node:
        for number in (-1, 1 << 70, 1 << 300):
            node.sendall(numbered(number))
        for worker in range(3000):
            node.sendall(numbered(1, worker=worker))
        collecting.until_events(3003)
        assert lost(collecting.gaps) == []
        assert collecting.cursor is not None
        assert len(collecting.cursor["workers"]) <= 1024
