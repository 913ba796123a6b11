"""How long after its end a statement is found in ``GET /v1/events``, at a steady rate of statements.

A real PostgreSQL with pgaudit, `dbaudit up` as a user starts it, a client that runs statements at fixed
moments, and a follower that asks the API for what is new, and asks again as soon as it has the answer. Each
statement has its own column name, which masking leaves alone, and must be found exactly once.
"""

import multiprocessing
import statistics
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.benchmarks.declared import declare
from tests.benchmarks.figures import figure, say
from tests.demo.service import Service
from tests.servers.cache import cache_folder
from tests.servers.postgresql import PostgresServer

_STATEMENTS_PER_SECOND = 500
_WARMING_SECONDS = 2.0
_PATIENCE_SECONDS = 20.0
_MARK = "mark_"


def main(seconds: float) -> None:
    """Measures and prints."""
    with (
        PostgresServer(17, pgaudit=True) as server,
        tempfile.TemporaryDirectory(dir=cache_folder()) as folder,
        Service(Path(folder)) as service,
    ):
        identifier = declare(service, server)
        ended, answered = _measure(service, server, identifier, seconds)
    begin = min(ended.values()) + _WARMING_SECONDS
    latencies = sorted(answered[mark] - end for mark, end in ended.items() if end >= begin)
    rate = (len(ended) - 1) / (max(ended.values()) - min(ended.values()))
    say(
        f"{len(latencies)} statements at {rate:.0f} a second; least {latencies[0]:.3f} s, largest "
        f"{latencies[-1]:.3f} s"
    )
    hundredths = statistics.quantiles(latencies, n=100, method="inclusive")
    figure("latency_p50_seconds", hundredths[49], "s", digits=3)
    figure("latency_p99_seconds", hundredths[98], "s", digits=3)


def _measure(
    service: Service, server: PostgresServer, identifier: str, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """When each statement ended, and when the API first answered with it, on the same clock."""
    parameters: dict[str, Any] = {
        "database_id": identifier,
        "order": "stored",
        "limit": 1000,
        "wait_seconds": 5,
    }
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    conninfo = server.conninfo(server.superuser, server.superuser_password)
    load = context.Process(
        target=_run_statements, args=(there, conninfo, seconds + _WARMING_SECONDS), daemon=True
    )
    load.start()
    here.recv()
    here.send("begin")
    ended: dict[str, float] = {}
    answered: dict[str, float] = {}
    seen: Counter[str] = Counter()
    deadline = time.monotonic() + seconds + _WARMING_SECONDS + _PATIENCE_SECONDS
    with service.client() as client:
        while not ended or len(seen) < len(ended):
            page = _next_page(client, parameters)
            now = time.monotonic()
            for event in page:
                mark = (event["query"] or "").rpartition(" as ")[2]
                if mark.startswith(_MARK):
                    seen[mark] += 1
                    answered.setdefault(mark, now)
            if not ended and here.poll():
                ended = here.recv()
            if now > deadline:
                raise TimeoutError(f"{len(seen)} of {len(ended)} statements were found")
    assert set(seen.values()) == {1}, "a statement was found twice"
    return ended, answered


def _next_page(client: httpx.Client, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.get("/v1/events", params=parameters)
    answer.raise_for_status()
    page = answer.json()
    parameters["cursor"] = page["pagination"]["next_cursor"]
    events: list[dict[str, Any]] = page["data"]
    return events


def _run_statements(pipe: Connection, conninfo: str, seconds: float) -> None:
    """Runs a statement at each of its moments, late ones at once, and tells when each ended."""
    ended: dict[str, float] = {}
    with psycopg.connect(conninfo, autocommit=True, application_name="load") as connection:
        pipe.send("ready")
        pipe.recv()
        begin = time.monotonic()
        for number in range(int(seconds * _STATEMENTS_PER_SECOND)):
            time.sleep(max(0.0, begin + number / _STATEMENTS_PER_SECOND - time.monotonic()))
            mark = f"{_MARK}{number:06d}"
            connection.execute(f"select {number} as {mark}")
            ended[mark] = time.monotonic()
    pipe.send(ended)
