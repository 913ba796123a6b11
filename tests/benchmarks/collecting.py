"""What collecting costs the monitored server: pgbench with the agent reading, over pgbench without it.

Server and clients share one core, so that every cycle that the server spends on the agent is missing to the
clients; the service has the other. fsync is off: a disk that is waited for would hide the cost. The agent
reads remotely, over a connection to the server. Runs with and without it take turns, each with a warm server
and the agent caught up; the ratio is that of each pair, and the median of the pairs is the figure.
"""

import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.benchmarks import cores
from tests.benchmarks.declared import ROLE, declare, wait_until_caught_up
from tests.benchmarks.figures import figure, say
from tests.demo.service import Service
from tests.servers.cache import cache_folder
from tests.servers.installations import client
from tests.servers.postgresql import PostgresServer

_SCALE = 10
_CLIENTS = 4
_DATABASE = "bench"


def main(pairs: int, seconds: int) -> None:
    """Measures and prints."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(dir=cache_folder())))
        with cores.pinned(cores.OF_THE_SERVER):
            server = running.enter_context(PostgresServer(17, pgaudit=True))
            server.create_database(_DATABASE)
            _pgbench(server, "--initialize", "--quiet", f"--scale={_SCALE}")
        with _service(folder) as service:
            declare(service, server)
        _run(server, seconds)
        ratios = []
        for number in range(pairs):
            # The order changes from pair to pair, so that a drift of the machine favours neither.
            rates = {}
            for reading in (True, False) if number % 2 else (False, True):
                rates[reading] = _with_agent(folder, server, seconds) if reading else _run(server, seconds)
            ratios.append(rates[True] / rates[False])
            say(f"with {rates[True]:.0f} tps, without {rates[False]:.0f} tps, ratio {ratios[-1]:.3f}")
    figure("collecting_tps_ratio", statistics.median(ratios), "ratio", digits=3)


def _with_agent(folder: Path, server: PostgresServer, seconds: int) -> float:
    with _service(folder) as service:
        wait_until_caught_up(service, server)
        before = _session_cpu_seconds(server)
        rate = _run(server, seconds)
        share = (_session_cpu_seconds(server) - before) / seconds
        say(f"the agent's session on the server used {share:.1%} of a core")
        return rate


@contextmanager
def _service(folder: Path) -> Iterator[Service]:
    with ExitStack() as running:
        with cores.pinned(cores.OF_THE_AGENT):
            service = running.enter_context(Service(folder))
        yield service


def _run(server: PostgresServer, seconds: int) -> float:
    """Transactions per second."""
    with cores.pinned(cores.OF_THE_SERVER):
        output = _pgbench(server, f"--client={_CLIENTS}", "--jobs=1", f"--time={seconds}")
    found = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    assert found, output
    return float(found[1])


def _session_cpu_seconds(server: PostgresServer) -> float:
    """What the server's processes that serve the agent have used so far."""
    found = server.execute_admin("select pid from pg_stat_activity where usename = %s", [ROLE])
    fields = [Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for (process,) in found]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def _pgbench(server: PostgresServer, *arguments: str) -> str:
    place = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PGPASSWORD": server.superuser_password,
        "PGDATABASE": _DATABASE,
    }
    return subprocess.run(
        [client().pgbench, *arguments],
        env={**os.environ, **place},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
