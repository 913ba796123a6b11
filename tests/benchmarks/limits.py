"""The limit: what Python's bare readers of csv and json need for the same files, doing nothing else."""

import csv
import json
import time
from collections.abc import Callable

from tests.benchmarks import cores
from tests.benchmarks.figures import figure, say
from tests.benchmarks.log import AuditLog


def measure_limits(log: AuditLog) -> None:
    """Measures and prints, on the agent's core."""
    with cores.pinned(cores.OF_THE_AGENT):
        for name, read in (("csv", _read_csv), ("json", _read_json)):
            seconds, cpu_seconds = _timed(read, log)
            say(f"Python's {name}: {seconds:.2f} s, {cpu_seconds:.2f} s of the core")
            figure(f"python_{name}_lines_per_second", log.records / seconds, "lines/s")


def _timed(read: Callable[[AuditLog], int], log: AuditLog) -> tuple[float, float]:
    begin, cpu_begin = time.perf_counter(), time.process_time()
    assert read(log) == log.records
    return time.perf_counter() - begin, time.process_time() - cpu_begin


def _read_csv(log: AuditLog) -> int:
    with log.csv.open(encoding="utf-8", newline="") as file:
        return sum(1 for ignored in csv.reader(file, strict=True))


def _read_json(log: AuditLog) -> int:
    with log.json.open("rb") as file:
        return sum(1 for ignored in map(json.loads, file))
