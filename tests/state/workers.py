"""What other processes do in the tests of the state; a fork server starts each in some milliseconds."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from dbaudit.core.errors import DbauditError
from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.core.report import TestReport
from dbaudit.core.secret import Secret
from dbaudit.state import State, open_state
from dbaudit.state.encryption import keyring_from_file, keyring_from_text
from dbaudit.state.nodes import Lease, Node
from dbaudit.state.wakeup import Topic

from tests.forking import fork_server
from tests.patience import PATIENCE_SECONDS

Work = Callable[..., None]


class Worker:
    """Another process with a pipe to it."""

    def __init__(self, work: Work, *arguments: Any) -> None:
        self._pipe, theirs = fork_server.Pipe()
        self.process: ForkServerProcess = fork_server.Process(
            target=_run, args=(work, theirs, arguments), daemon=True
        )
        self.process.start()
        theirs.close()

    def receive(self) -> Any:
        """What the process tells next; its error is raised here."""
        if not self._pipe.poll(PATIENCE_SECONDS):
            raise TimeoutError("the process says nothing")
        message = self._pipe.recv()
        if isinstance(message, Exception):
            raise message
        return message

    def has_told(self) -> bool:
        return self._pipe.poll()

    def tell(self, message: Any) -> None:
        self._pipe.send(message)

    def end(self) -> Any:
        """Tell the process to stop, and return its last word."""
        self.tell("stop")
        word = self.receive()
        while word is None:
            word = self.receive()
        self.process.join(PATIENCE_SECONDS)
        return word

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE_SECONDS)


def _run(work: Work, pipe: Connection, arguments: tuple[Any, ...]) -> None:
    try:
        work(pipe, *arguments)
    except Exception as error:  # noqa: BLE001  # the test that started the process raises it
        pipe.send(RuntimeError(f"{type(error).__name__}: {error}"))


@contextmanager
def workers(count: int, work: Work, *arguments: Any) -> Iterator[list[Worker]]:
    """So many processes that do the same; ended for sure."""
    running = [Worker(work, *arguments) for turn in range(count)]
    try:
        yield running
    finally:
        for worker in running:
            worker.kill()


@contextmanager
def _state(url: str, key_file: Path, **options: float) -> Iterator[State]:
    state = open_state(url, keyring_from_file(key_file, create=False), **options)
    try:
        yield state
    finally:
        state.close()


def open_and_close(pipe: Connection, url: str, key_file: Path) -> None:
    pipe.send("ready")
    pipe.recv()
    with _state(url, key_file) as state:
        pipe.send(state.databases.page()[1])


def open_as_another(pipe: Connection, url: str, user_id: int | None) -> None:
    """Open a state as an account that may not do everything, and tell what came of it."""
    if user_id is not None:
        os.setgroups([])
        os.setgid(user_id)
        os.setuid(user_id)
    try:
        open_state(url, keyring_from_text(f"k:{'A' * 43}=", "a test")).close()
    except DbauditError as error:
        pipe.send((error.code, error.message, error.remedy))
    else:
        pipe.send("opened")


def write_and_read_secrets(pipe: Connection, url: str, key_file: Path, database_ids: list[str]) -> None:
    """Change passwords and read them back until told to stop; then tell how often."""
    with _state(url, key_file) as state:
        pipe.send("ready")
        rounds = 0
        while not pipe.poll():
            for database_id in database_ids:
                secret = Secret(f"{database_id} {rounds}")
                declared = state.databases.get(database_id)
                with state.backend.writing() as connection:
                    state.secrets.put(connection, f"{database_id}/password", secret)
                    state.secrets.put(connection, f"{database_id}/ssl_key", secret)
                if state.databases.target(declared.id).password != secret:
                    raise AssertionError("a password that was written is another one")
            rounds += 1
        pipe.send(rounds)


def answer_tasks(pipe: Connection, url: str, key_file: Path, name: str) -> None:
    """An agent that takes tasks until told to stop, then tells how many."""
    with _state(url, key_file) as state:
        pipe.send("ready")
        taken: list[str] = []
        while not pipe.poll():
            seen = state.wakeup.count(Topic.TASK_NEW)
            task = state.tasks.claim(name)
            if task is None:
                state.wakeup.wait(Topic.TASK_NEW, seen, PATIENCE_SECONDS)
                continue
            taken.append(task.id)
            version = f"{name} saw {task.target.password.reveal()}"
            state.tasks.finish(task.id, TestReport(reachable=True, success=True, version=version))
        pipe.send(taken)


def beat(pipe: Connection, url: str, key_file: Path, lease_seconds: float) -> None:
    """A node that tells its leases for each word it gets."""
    with _state(url, key_file, lease_seconds=lease_seconds) as state:
        node: Node = state.nodes.register("node", "0", ())
        pipe.send("ready")
        while pipe.recv() == "beat":
            leases = state.nodes.beat(node)
            pipe.send([(lease.database_id, lease.token) for lease in leases])


def collect(pipe: Connection, url: str, key_file: Path, lease: Lease, batch: int) -> None:
    """Append events that are numbered without a hole, from the stored cursor on, and tell, until killed."""
    with _state(url, key_file) as state:
        pipe.send("ready")
        while True:
            after = state.events.cursor(lease.database_no)
            begin = 0 if after.cursor is None else int(after.cursor["next"])
            events = [
                AuditEvent(key=f"k{n}", type=EventType.QUERY, time_us=1_000_000 * n, query=f"select {n} " * 9)
                for n in range(begin, begin + batch)
            ]
            aside = [Rejected(f"p{begin}", b"raw", "broken")]
            state.events.append(lease, after, {"v": 1, "next": begin + batch}, events, aside)
            pipe.send("appended")


def fill_up(pipe: Connection, url: str, key_file: Path, lease: Lease, largest_file_bytes: int) -> None:
    """Append until a file would grow beyond the limit; tell how many events were stored, and the error."""
    with _state(url, key_file) as state:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, largest_file_bytes))
        stored = 0
        try:
            while True:
                after = state.events.cursor(lease.database_no)
                events = [
                    AuditEvent(key=f"k{n}", type=EventType.QUERY, time_us=n, query="x" * 900)
                    for n in range(stored, stored + 50)
                ]
                state.events.append(lease, after, {"v": 1, "n": stored + 50}, events, [])
                stored += 50
        except DbauditError as error:
            pipe.send((stored, error.code))


def append_numbered(pipe: Connection, url: str, key_file: Path, lease: Lease, first: int, count: int) -> None:
    """Append ``count`` batches of three events."""
    with _state(url, key_file) as state:
        pipe.send("ready")
        pipe.recv()
        for number in range(first, first + count):
            after = state.events.cursor(lease.database_no)
            events = [
                AuditEvent(key=f"k{number}.{part}", type=EventType.QUERY, time_us=number) for part in range(3)
            ]
            state.events.append(lease, after, {"v": 1}, events, [])
        pipe.send("done")


def wait_for_notices(pipe: Connection, url: str, key_file: Path) -> None:
    """Tell the moment when a notice about databases came, or None, for each time-out that is sent."""
    with _state(url, key_file) as state:
        seen = state.wakeup.count(Topic.DATABASES)
        pipe.send("ready")
        while (word := pipe.recv()) != "stop":
            came = state.wakeup.wait(Topic.DATABASES, seen, float(word))
            pipe.send(time.time() if came else "nothing")
            seen = state.wakeup.count(Topic.DATABASES)
        pipe.send("stopped")
