"""Notices between processes: they arrive, cost nothing while idle, and never stop whoever sends them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from threading import Thread

import pytest
from dbaudit.state import State
from dbaudit.state.wakeup import SocketWakeup, Topic

from tests.state.conftest import Open
from tests.state.samples import create
from tests.state.workers import wait_for_notices, workers

LONG = 60.0


def test_a_notice_wakes_other_processes_and_this_one(store: State, url: str, key_file: Path) -> None:
    with workers(2, wait_for_notices, url, key_file) as others:
        assert [other.receive() for other in others] == ["ready"] * 2
        for round_number in range(5):
            for other in others:
                other.tell(LONG)
            mine = store.wakeup.count(Topic.DATABASES)
            create(store, f"d{round_number}")
            assert store.wakeup.wait(Topic.DATABASES, mine, LONG)
            assert all(isinstance(other.receive(), float) for other in others)


def test_a_notice_between_looking_and_waiting_is_not_missed(open_store: Open) -> None:
    one, other = open_store(), open_store()
    for _turn in range(20):
        seen = one.wakeup.count(Topic.EVENTS)
        other.wakeup.notify(Topic.EVENTS)
        assert one.wakeup.wait(Topic.EVENTS, seen, LONG)


def test_a_notice_about_something_else_wakes_nobody(store: State) -> None:
    seen = store.wakeup.count(Topic.TASK_DONE)
    store.wakeup.notify(Topic.TASK_NEW)
    assert not store.wakeup.wait(Topic.TASK_DONE, seen, 0.02)


def test_closing_ends_every_wait_and_can_be_done_twice(open_store: Open) -> None:
    store = open_store()
    results: list[bool] = []
    waiting = [
        Thread(
            target=lambda: results.append(
                store.wakeup.wait(Topic.EVENTS, store.wakeup.count(Topic.EVENTS), LONG)
            )
        )
        for _turn in range(3)
    ]
    for thread in waiting:
        thread.start()
    store.wakeup.close()
    store.wakeup.close()
    for thread in waiting:
        thread.join(LONG / 2)
    assert results == [False] * 3
    assert not store.wakeup._thread.is_alive()  # type: ignore[attr-defined]


def test_waiting_costs_no_processor_time(open_store: Open) -> None:
    stores = [open_store() for turn in range(3)]
    used = time.process_time()
    assert not stores[0].wakeup.wait(Topic.EVENTS, stores[0].wakeup.count(Topic.EVENTS), 0.7)
    # A loop that does not sleep would have used all of the 0.7 s.
    assert time.process_time() - used < 0.2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "wakeup"


def test_sockets_of_dead_processes_are_removed_and_do_not_disturb(folder: Path) -> None:
    one, other = SocketWakeup(folder), SocketWakeup(folder)
    left_behind = folder / "4711-dead"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(str(left_behind))
    seen = other.count(Topic.EVENTS)
    one.notify(Topic.EVENTS)
    assert other.wait(Topic.EVENTS, seen, LONG)
    assert not left_behind.exists()
    one.close()
    other.close()
    assert list(folder.iterdir()) == []


def test_a_folder_whose_path_is_longer_than_a_socket_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    one, other = SocketWakeup(deep), SocketWakeup(deep)
    seen = other.count(Topic.EVENTS)
    one.notify(Topic.EVENTS)
    assert other.wait(Topic.EVENTS, seen, LONG)
    one.close()
    other.close()


def test_a_process_that_does_not_read_its_notices_stops_nobody(
    store: State, url: str, key_file: Path
) -> None:
    with workers(1, wait_for_notices, url, key_file) as (stopped,):
        assert stopped.receive() == "ready"
        assert stopped.process.pid is not None
        os.kill(stopped.process.pid, signal.SIGSTOP)
        for _turn in range(600):  # more than the buffer of a socket holds
            store.wakeup.notify(Topic.DATABASES)
        os.kill(stopped.process.pid, signal.SIGCONT)
        stopped.tell(LONG)
        store.wakeup.notify(Topic.DATABASES)
        assert stopped.receive() != "nothing"


def test_unknown_words_are_ignored(folder: Path) -> None:
    receiver = SocketWakeup(folder)
    before = [receiver.count(topic) for topic in Topic]
    (path,) = folder.iterdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for word in (b"", b"close", b"\xff\xfe", b"events ", b"x" * 1000):
            sender.sendto(word, str(path))
        sender.sendto(b"task_new", str(path))
    assert receiver.wait(Topic.TASK_NEW, 0, LONG)
    after = [receiver.count(topic) for topic in Topic]
    assert sum(after) == sum(before) + 1
    receiver.close()


def test_a_notice_that_cannot_be_sent_is_no_error(folder: Path) -> None:
    one = SocketWakeup(folder)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    seen = one.count(Topic.EVENTS)
    one.notify(Topic.EVENTS)
    assert one.count(Topic.EVENTS) == seen + 1, "this process knows all the same"
    one.close()
