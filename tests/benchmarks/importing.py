"""What `import dbaudit` costs: fresh processes in turn, beside bare Python and the HTTP library alone."""

import resource
import statistics
import subprocess
import sys
import time

from tests.benchmarks.figures import figure

_ROUNDS = 21
_PROGRAMS = {
    "bare_python": "pass",
    "httpx": "import httpx",
    "dbaudit": "import dbaudit",
    "dbaudit_client": "import dbaudit; dbaudit.Client",
}


def main() -> None:
    """Measures, and prints medians: of the clock, and of the processor, which other work does not delay."""
    clock: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    processor: dict[str, list[float]] = {name: [] for name in _PROGRAMS}
    for number in range(_ROUNDS + 1):
        for name, program in _PROGRAMS.items():
            started, used = time.perf_counter(), _processor_seconds()
            subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, check=True)
            if number:  # the first one writes compiled files and fills the cache of the disk
                clock[name].append(time.perf_counter() - started)
                processor[name].append(_processor_seconds() - used)
    for name in _PROGRAMS:
        figure(f"import_{name}_ms", statistics.median(clock[name]) * 1000, "ms", 1)
        figure(f"import_{name}_processor_ms", statistics.median(processor[name]) * 1000, "ms", 1)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
