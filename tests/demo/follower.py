"""Follows the events through the API, prints them, and keeps what the report needs."""

import sys
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

import httpx

from tests.demo.service import Service
from tests.demo.workload import Done

PGBENCH_STATEMENT = "UPDATE pgbench_accounts "
LINES_A_SECOND = 12


class Follower(threading.Thread):
    """Asks the API for what is new, and again as soon as it has answered."""

    def __init__(self, service: Service, database_id: str) -> None:
        super().__init__(name="follower", daemon=True)
        self._service = service
        self._database_id = database_id
        self._ended = threading.Event()
        self._printed = 0
        self._unprinted: Counter[str] = Counter()
        self._second = 0
        self.identifiers: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self.seen_after: dict[str, float] = {}
        self.opened: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.connections = 0
        self.gaps = 0
        self.pgbench_updates = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join(10)

    def run(self) -> None:
        parameters: dict[str, Any] = {
            "database_id": self._database_id,
            "order": "stored",
            "limit": 1000,
            "wait_seconds": 1,
        }
        with self._service.client() as client:
            while not self._ended.is_set():
                try:
                    answer = client.get("/v1/events", params=parameters)
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    print(f"the API does not answer: {error}", file=sys.stderr)
                    self._ended.wait(0.5)
                    continue
                now = time.time()
                page = answer.json()
                parameters["cursor"] = page["pagination"]["next_cursor"]
                for event in page["data"]:
                    self._keep(event, now)
                    self._print(event, now)

    def wait_for(self, done: Done, timeout_seconds: float) -> None:
        """Wait until everything that was done is there, or the time is over."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and not self._has_all(done):
            time.sleep(0.05)
        time.sleep(0.5)  # what must not come had its chance to come

    def _has_all(self, done: Done) -> bool:
        return (
            done.statements.keys() <= self.marks.keys()
            and done.sessions <= self.closed.keys()
            and done.refused <= self.refused.keys()
            and done.pgbench_transactions <= self.pgbench_updates
        )

    def _keep(self, event: dict[str, Any], now: float) -> None:
        self.identifiers[event["id"]] += 1
        kind, query = event["type"], event["query"] or ""
        if kind == "database.query":
            mark = query.rpartition(" as ")[2].strip('"')
            if mark.startswith("mark_"):
                self.marks[mark] += 1
                self.seen_after.setdefault(mark, now)
            elif query.startswith(PGBENCH_STATEMENT):
                self.pgbench_updates += 1
        elif kind == "database.connection":
            self.connections += 1
        elif kind == "user.login_success":
            self.opened[event["application"] or ""] += 1
        elif kind == "database.disconnect":
            self.closed[event["application"] or ""] += 1
        elif kind == "user.login_failed":
            self.refused[event["user"] or ""] += 1
        elif kind == "collector.gap":
            self.gaps += 1

    def _print(self, event: dict[str, Any], now: float) -> None:
        """A line for each event, but no more of them a second than can be read."""
        if int(now) != self._second:
            if self._unprinted:
                more = ", ".join(f"{number} {kind}" for kind, number in self._unprinted.most_common())
                print(f"{'':13}... and {more}", flush=True)
            self._second, self._printed, self._unprinted = int(now), 0, Counter()
        if self._printed >= LINES_A_SECOND:
            self._unprinted[event["type"]] += 1
            return
        self._printed += 1
        what = event["query"] or event["error_code"] or event["application"] or ""
        source = f"{event['source_ip']}:{event['source_port']}" if event["source_ip"] else ""
        line = f"{event['type']:<20} {event['user'] or '-':<12} {source:<16} {' '.join(what.split())}"
        print(f"{event['timestamp'][11:23].rstrip('Z'):<12} {line[:110]}", flush=True)
