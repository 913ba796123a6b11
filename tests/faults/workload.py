"""Numbered statements against a monitored server, by several clients at once, and what its own log says."""

import contextlib
import json
import re
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.monitored import CLIENT_ERRORS, client, logged
from tests.servers.postgresql import PostgresServer

_MARK = re.compile(r"'(mark-[a-z]+-\d+)'")
CLIENTS = 2
PAUSE_SECONDS = 0.01


class Workload:
    """Runs ``select 'mark-NAME-1'``, ``select 'mark-NAME-2'`` ... until its end, whatever befalls the server.

    ``answered`` are those whose result came back: the server wrote them to its log before that.
    """

    def __init__(self, server: Any, name: str) -> None:
        self._server = server
        self._name = name
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self.answered: set[str] = set()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _client in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """No statement starts after this."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(*CLIENT_ERRORS), client(self._server) as execute:
                while not self._stop.is_set():
                    mark = self._mark()
                    execute(f"select '{mark}'")
                    self.answered.add(mark)
                    time.sleep(PAUSE_SECONDS)
            self._stop.wait(0.02)

    def _mark(self) -> str:
        with self._lock:
            self._next += 1
            return f"mark-{self._name}-{self._next}"

    def logged(self) -> Counter[str]:
        """How often each statement of this workload stands in the log of the server."""
        found: Counter[str] = Counter()
        for text in logged(self._server):
            mark = mark_in(text)
            if mark is not None and mark.startswith(f"mark-{self._name}-"):
                found[mark] += 1
        return found


class Pgbench:
    """pgbench at a steady rate until the end of the context, beside the numbered statements."""

    NAME = "pgbench"
    CLIENTS = 2
    TRANSACTIONS_A_SECOND = 40

    def __init__(self, server: PostgresServer, program: Path) -> None:
        self._server = server
        self._program = program
        assert self._run("initialization", "--initialize", "--quiet", "--init-steps=dtgp").wait() == 0

    def __enter__(self) -> Self:
        rate = f"--rate={self.TRANSACTIONS_A_SECOND}"
        self._process = self._run(self.NAME, f"--client={self.CLIENTS}", rate, "--time=3600", "--no-vacuum")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.poll() is None, "pgbench ended by itself"
        self._process.terminate()
        self._process.wait()

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._program, *arguments],
            env={
                "PGHOST": self._server.host,
                "PGPORT": str(self._server.port),
                "PGUSER": self._server.superuser,
                "PGPASSWORD": self._server.superuser_password,
                "PGDATABASE": "postgres",
                "PGAPPNAME": name,
                "LC_ALL": "C",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def logged(self) -> Counter[str]:
        """How often each of its statements stands in the log of the server, by session and line."""
        records = (
            json.loads(line)
            for file in self._server.log_files(".json")
            for line in file.read_text().splitlines()
        )
        return Counter(
            f"{record['session_id']}:{record['line_num']}"
            for record in records
            if record.get("application_name") == self.NAME and record["message"].startswith("AUDIT: ")
        )


def mark_in(text: str | None) -> str | None:
    """The mark that a statement or a message holds."""
    found = _MARK.search(text or "")
    return found[1] if found else None
