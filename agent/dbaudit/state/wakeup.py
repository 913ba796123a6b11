"""Notices to other processes that something in the state is new, so that no process has to poll often.

On PostgreSQL this is LISTEN and NOTIFY. On SQLite every process has a datagram socket in the folder of the
state file. A notice may be lost (a full socket, a restart), so a waiting process also looks at the state from
time to time. A notice holds no data of its own: that is always in the state.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg

from dbaudit.core.errors import TransientError
from dbaudit.state.backend import Backend

_log = logging.getLogger(__name__)
_CONNECT_SECONDS = 10


class Topic(StrEnum):
    """What a notice is about."""

    DATABASES = "databases"
    TASK_NEW = "task_new"
    TASK_DONE = "task_done"
    EVENTS = "events"
    DB_CONNS = "db_conns"
    """The settings for sending connection events."""


_TOPICS = frozenset(topic.value for topic in Topic)


class Wakeup(ABC):
    """Sends notices, and counts the notices of each topic from all processes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._counts = dict.fromkeys(Topic, 0)
        self._closed = False

    def count(self, topic: Topic) -> int:
        """How many notices came so far. Take it before looking at the state, then wait for the next one."""
        return self._counts[topic]

    def wait(self, topic: Topic, seen: int, timeout_seconds: float) -> bool:
        """Wait until more than ``seen`` notices came; False when the time ran out or this was closed."""
        with self._changed:
            return (
                self._changed.wait_for(lambda: self._counts[topic] > seen or self._closed, timeout_seconds)
                and not self._closed
            )

    def wait_any(self, seen: Mapping[Topic, int], timeout_seconds: float) -> None:
        """Wait until more notices of a topic came than ``seen`` has of it, or the time ran out."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or any(self._counts[topic] > count for topic, count in seen.items()),
                timeout_seconds,
            )

    def notify(self, topic: Topic) -> None:
        """Notify all processes, this one included. Never raises: the change is committed already."""
        self._received(topic)
        try:
            self._send(topic)
        except (OSError, TransientError) as error:
            _log.debug("a notice about %s was lost: %s", topic, error)

    def close(self) -> None:
        """Stop receiving; threads that wait return at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _received(self, topic: Topic) -> None:
        with self._changed:
            self._counts[topic] += 1
            self._changed.notify_all()

    @abstractmethod
    def _send(self, topic: Topic) -> None: ...


class SocketWakeup(Wakeup):
    """Notices between the processes of one host, by datagram sockets in ``folder``."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A socket's path holds 107 bytes at most; through its folder's descriptor any folder will do.
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._name = f"{os.getpid()}-{id(self):x}"
        (folder / self._name).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self._address(self._name))
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._thread = threading.Thread(target=self._receive, name="wakeup", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while True:
            word = self._socket.recv(64).decode(errors="replace")
            if self._closed:
                return
            if word in _TOPICS:
                self._received(Topic(word))

    def _send(self, topic: Topic) -> None:
        for name in os.listdir(self._folder):  # noqa: PTH208  # many times a second
            if name == self._name:
                continue
            try:
                self._sender.sendto(topic.encode(), self._address(name))
            except ConnectionRefusedError:
                (self._folder / name).unlink(missing_ok=True)  # its process is gone
            except OSError:
                pass  # full or just closed: the receiver looks for himself in time

    def _address(self, name: str) -> str:
        return f"/proc/self/fd/{self._descriptor}/{name}"

    def close(self) -> None:
        if self._closed:
            return
        super().close()
        self._socket.shutdown(socket.SHUT_RDWR)  # ends recv
        self._thread.join()
        (self._folder / self._name).unlink(missing_ok=True)
        self._socket.close()
        self._sender.close()
        os.close(self._descriptor)


class ListenWakeup(Wakeup):
    """Notices between all processes on one PostgreSQL state, by LISTEN and NOTIFY."""

    _CHANNEL = "dbaudit"
    _RECONNECT_SECONDS = 1.0

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend
        self._stop = threading.Event()
        self._end, self._ended = socket.socketpair()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="wakeup", daemon=True)
        self._thread.start()
        self._listening.wait(10)

    def _receive(self) -> None:
        while not self._stop.is_set():
            try:
                with self._backend.connect_postgresql() as connection:
                    connection.execute(f"LISTEN {self._CHANNEL}")
                    for topic in Topic:
                        self._received(topic)  # whatever was missed while away
                    self._listening.set()
                    self._listen(connection)
            except psycopg.Error:
                self._stop.wait(self._RECONNECT_SECONDS)

    def _listen(self, connection: psycopg.Connection[Any]) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(self._ended, selectors.EVENT_READ)
            while not self._stop.is_set():
                for notice in connection.notifies(timeout=0):
                    if notice.payload in _TOPICS:
                        self._received(Topic(notice.payload))
                selector.select()

    def _send(self, topic: Topic) -> None:
        with self._backend.writing() as connection:
            connection.exec_driver_sql("SELECT pg_notify(%s, %s)", (self._CHANNEL, topic.value))

    def close(self) -> None:
        if self._closed:
            return
        self._stop.set()
        super().close()
        self._end.close()
        self._thread.join(_CONNECT_SECONDS + 1)
        self._ended.close()
