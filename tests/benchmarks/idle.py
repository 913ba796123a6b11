"""What an agent costs whose databases have nothing to tell: 1,000 of them, on few servers.

Real PostgreSQL servers, read remotely, each declared under many names (a database at a host alias), so that
every declaration has its own connection, its own session and its own process on the server. The agent is the
command of a user, with its default settings; its processes are counted together, the parent too. Measured is
the steady state, after each database was tested and found idle.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from dbaudit.core.database import AuditOptions, SslMode
from dbaudit.core.secret import Secret
from dbaudit.state import State, open_state
from dbaudit.state.collectors import CollectorState
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file

from tests.benchmarks.figures import figure, say
from tests.servers.cache import cache_folder
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import children

_SERVERS = 4
_NAMES = tuple(f"idle{number}" for number in range(5))
_ROLE = "collector"
_PASSWORD = "only for this benchmark"
_PATIENCE_SECONDS = 600.0
_SETTLING_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def main(databases: int, seconds: float) -> None:
    """Measures and prints."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(dir=cache_folder())))
        aliases = [f"127.0.0.{number + 1}" for number in range(-(-databases // (_SERVERS * len(_NAMES))))]
        servers = [
            running.enter_context(_server(databases // _SERVERS, aliases)) for _number in range(_SERVERS)
        ]
        for server in servers:
            server.create_collector_role(_ROLE, _PASSWORD, "template1")  # what is made of it has the grants
            for name in _NAMES:
                server.create_database(name)
        keys = keyring_from_file(folder / "encryption.keys", create=True)
        state = open_state(f"sqlite:///{folder}/state.db", keys)
        running.callback(state.close)
        for number in range(databases):
            _declare(state, servers, aliases, number)
        say(f"{databases} databases are declared")
        with (folder / "agent.log").open("wb") as log:
            agent = subprocess.Popen(
                [Path(sys.executable).with_name("dbaudit"), "agent", "--home", folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        running.callback(agent.wait)
        running.callback(agent.terminate)
        begin = time.monotonic()
        _wait_until_collected(state, databases)
        seconds_to_start = time.monotonic() - begin
        say(f"all are collected after {seconds_to_start:.0f} s, {_cpu_seconds(agent):.0f} s of the core")
        time.sleep(_SETTLING_SECONDS)
        cores, megabytes = _measure(agent, seconds)
        _wait_until_collected(state, databases)
    figure("idle_databases_cores", cores, "cores", digits=3)
    figure("idle_databases_rss_mb", megabytes, "MB")


def _server(connections: int, aliases: list[str]) -> PostgresServer:
    return PostgresServer(
        17,
        pgaudit=True,
        settings={
            "max_connections": connections + 20,
            "listen_addresses": ",".join(aliases),
            # Each of the declarations would read the log-ins of all the others.
            "log_connections": False,
            "log_disconnections": False,
        },
        hba=[f"host all all {alias}/32 scram-sha-256" for alias in aliases],
    )


def _declare(state: State, servers: list[PostgresServer], aliases: list[str], number: int) -> None:
    turn, server = divmod(number, len(servers))
    alias, name = divmod(turn, len(_NAMES))
    declaration = Declaration(
        name=f"database-{number}",
        type="postgresql",
        host=aliases[alias],
        port=servers[server].port,
        database=_NAMES[name],
        username=_ROLE,
        ssl_mode=SslMode.DISABLE,
        audit_options=AuditOptions(engine={"log_source": "remote"}),
    )
    state.databases.create(declaration, {"password": Secret(_PASSWORD)})


def _wait_until_collected(state: State, databases: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (found := Counter(c.state for c in state.collectors.all()))[CollectorState.RUNNING] < databases:
        if time.monotonic() > deadline:
            errors = Counter(collector.error for collector in state.collectors.all())
            raise TimeoutError(f"not all databases are collected: {found}; {errors}")
        time.sleep(1.0)


def _measure(agent: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """The cores that the agent's processes use, and their resident size in megabytes."""
    begin, before = time.monotonic(), _cpu_seconds(agent)
    time.sleep(seconds)
    cores = (_cpu_seconds(agent) - before) / (time.monotonic() - begin)
    say(f"{cores:.3f} cores; the largest resident size was {_resident_mb(agent, 'VmHWM'):.0f} MB")
    return cores, _resident_mb(agent, "VmRSS")


def _cpu_seconds(agent: subprocess.Popen[bytes]) -> float:
    fields = [
        Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split() for process in _family(agent)
    ]
    return sum(int(f[11]) + int(f[12]) for f in fields) / _TICKS


def _resident_mb(agent: subprocess.Popen[bytes], which: str) -> float:
    total = 0
    for process in _family(agent):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith(f"{which}:"))
    return total * 1024 / 1e6


def _family(agent: subprocess.Popen[bytes]) -> list[int]:
    return [agent.pid, *children(agent.pid)]
