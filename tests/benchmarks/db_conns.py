"""Sending connection events: how many a second a core sends, and whether a slow listener holds up collecting.

The sender is that of the agent, with its default settings, in a process of its own on one core; the state is
SQLite with ``synchronous = FULL`` on a real disk. The listener has the other core and counts lines, no more.
For the second figure the whole agent collects a log of PostgreSQL; meanwhile sending to a listener that reads
some kilobytes a second is switched on and off in turns. Each turn begins with a moment for the buffers on the
way to the listener to fill up; then the rate of collecting is taken.
"""

import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
from dbaudit.agent import Agent, AgentSettings
from dbaudit.agent.delivery import Sender
from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.core.secret import Secret
from dbaudit.engine.manager import load_engines
from dbaudit.state import State, open_state
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import StoredCursor
from dbaudit.state.nodes import Lease

from tests.benchmarks import cores
from tests.benchmarks.figures import figure, say
from tests.benchmarks.log import AuditLog
from tests.host_limits import ANY_FOLDER
from tests.servers.cache import cache_folder
from tests.servers.postgresql import PostgresServer

_EVENTS = 200_000
_CHUNK = 5000
_SETTLE_SECONDS, _TURN_SECONDS = 1.0, 2.5
_LEAST_TURNS = 2
_SLOW_BYTES, _SLOW_SECONDS = 16_384, 0.2
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 300.0
_LEASE_SECONDS = 600.0
_ROLE, _PASSWORD = "collector", "only for this benchmark"
_TYPES = (EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.DISCONNECT)
_context = multiprocessing.get_context("spawn")


def main(rounds: int, records: int) -> None:
    """Measures and prints."""
    rates = [_send() for _round in range(rounds)]
    figure("db_conns_send_events_per_second", statistics.median(rates), "events/s")
    log = AuditLog(records)
    with cores.pinned(cores.OF_THE_SERVER), PostgresServer(17) as server:
        server.create_collector_role(_ROLE, _PASSWORD)
        figure("db_conns_collecting_ratio", _collect(server, log), "ratio", digits=3)


# -- the rate of sending


def _send() -> float:
    with (
        tempfile.TemporaryDirectory(dir=cache_folder()) as folder,
        cores.pinned(cores.OF_THE_SERVER),
        _listener(slow=False) as (port, counted),
    ):
        here, there = _context.Pipe()
        sender = _context.Process(target=_be_a_sender, args=(there, Path(folder), port), daemon=True)
        sender.start()
        here.recv()
        begin = time.perf_counter()
        here.send("begin")
        lines = 0
        while lines < _EVENTS:
            lines = counted.recv()
        seconds = time.perf_counter() - begin
        here.send("stop")
        cpu_seconds, sent, confirmed, last = here.recv()
        sender.join(30)
        assert lines == sent == _EVENTS, f"{lines} lines arrived, {sent} events were sent"
        assert confirmed == last, "the listener has not confirmed everything"
    say(f"{_EVENTS} events sent in {seconds:.2f} s, {_EVENTS / cpu_seconds:.0f} per second of the core")
    return _EVENTS / seconds


def _be_a_sender(pipe: Connection, folder: Path, port: int) -> None:
    cores.pin(cores.OF_THE_AGENT)
    state = _open(folder)
    _set(state, port)
    state.databases.create(_declaration(), {"password": Secret(_PASSWORD)})
    node = state.nodes.register("benchmark", "1", ("db_conns_auditing",))
    leases = state.nodes.beat(node)
    _fill(state, leases[0])
    sender = Sender(state, node.id, lambda: leases, ANY_FOLDER)
    pipe.send("ready")
    pipe.recv()
    before = time.process_time()
    sender.start()
    pipe.recv()
    cpu_seconds = time.process_time() - before
    sender.stop()
    sender.join()
    (delivery,) = state.deliveries.all()
    pipe.send((cpu_seconds, delivery.sent_total, delivery.confirmed_seq, state.events.last_number()))
    state.close()


def _fill(state: State, lease: Lease) -> None:
    now_us = time.time_ns() // 1000
    for start in range(0, _EVENTS, _CHUNK):
        events = [
            AuditEvent(
                key=f"postgresql-2026-11-21_081500.csv:{number * 187}",
                type=_TYPES[number % 3],
                time_us=now_us + number,
                outcome=Outcome.SUCCESS,
                user="application",
                database="appdb",
                application="app server",
                session_id=f"{number // 3:x}.1a2b",
                source_ip="10.20.30.40",
                source_port=number % 60_000 + 1,
            )
            for number in range(start, start + _CHUNK)
        ]
        after = state.events.cursor(lease.database_no)
        assert isinstance(after, StoredCursor)
        state.events.append(lease, after, {"v": 1, "n": start}, events, [])


# -- collecting beside it


def _collect(server: PostgresServer, log: AuditLog) -> float:
    """The rate of collecting while a slow listener is sent to, over the rate while nothing is sent."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as name, _listener(slow=True) as port:
        folder = Path(name)
        state = _open(folder)
        _set(state, port[0])
        options = {
            "log_source": "local",
            "log_directory": str(log.folder),
            "log_format": "csvlog",
            "start_from": "beginning",
        }
        declaration = _declaration(
            host=server.host,
            port=server.port,
            audit_options=AuditOptions(engine=options, retention_days=36_500, scope=Scope.SERVER),
        )
        database = state.databases.create(declaration, {"password": Secret(_PASSWORD)})
        here, there = _context.Pipe()
        agent = _context.Process(target=_be_an_agent, args=(there, folder), daemon=True)
        agent.start()
        collected, seconds, slow_turns = {True: 0, False: 0}, {True: 0.0, False: 0.0}, 0
        turns = _turns()
        while True:
            sending = next(turns)
            changed = msgspec.structs.replace(declaration, db_conns_auditing=sending)
            state.databases.update(database.id, changed, {})
            time.sleep(_SETTLE_SECONDS)
            begin, before = _stored(state, database.id, more_than=0)
            if before == log.events:
                break
            time.sleep(_TURN_SECONDS)
            end, after = _stored(state, database.id, more_than=before)
            if after == log.events:
                break
            collected[sending] += after - before
            seconds[sending] += end - begin
            slow_turns += sending and _backlog(state) > 0
        here.send("stop")
        agent.join(30)
        state.close()
    assert slow_turns >= _LEAST_TURNS, f"the listener was slow in {slow_turns} turns only"
    rates = {sending: collected[sending] / seconds[sending] for sending in (True, False)}
    say(
        f"with a slow listener {rates[True]:.0f} events/s collected, without {rates[False]:.0f}; "
        f"the listener was behind at the end of {slow_turns} turns"
    )
    return rates[True] / rates[False]


def _turns() -> Iterator[bool]:
    """With and without sending, in an order that favours neither."""
    while True:
        yield from (False, True, True, False)


def _stored(state: State, database_id: str, *, more_than: int) -> tuple[float, int]:
    """The moment, and how many events are stored."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (stored := state.collectors.get(database_id).events_total) <= more_than:
        assert time.monotonic() < deadline, "nothing was collected"
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter(), stored


def _backlog(state: State) -> int:
    return sum(
        state.events.backlogs({found.database_no: found.sent_seq})[found.database_no].events
        for found in state.deliveries.all()
    )


def _be_an_agent(pipe: Connection, folder: Path) -> None:
    cores.pin(cores.OF_THE_AGENT)
    state = _open(folder)
    stop = threading.Event()
    agent = Agent(state, load_engines(), AgentSettings(node_name="benchmark", host_limits=ANY_FOLDER))
    working = threading.Thread(target=agent.run, args=(stop,))
    working.start()
    pipe.recv()
    stop.set()
    working.join()
    state.close()


def _open(folder: Path) -> State:
    keyring = keyring_from_file(folder / "keys", create=True)
    return open_state(f"sqlite:///{folder}/state.db", keyring, lease_seconds=_LEASE_SECONDS)


def _set(state: State, port: int) -> None:
    state.db_conns.put({"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": port})


def _declaration(**fields: object) -> Declaration:
    values = {
        "name": "benchmark",
        "type": "postgresql",
        "host": "127.0.0.1",
        "port": 5432,
        "database": "postgres",
        "username": _ROLE,
        "ssl_mode": SslMode.DISABLE,
        "db_conns_auditing": True,
    }
    return Declaration(**(values | fields))  # type: ignore[arg-type]


# -- the listener


@contextlib.contextmanager
def _listener(*, slow: bool) -> Iterator[tuple[int, Connection]]:
    """Its port, and where it tells how many lines have come."""
    here, there = _context.Pipe()
    listening = socket.socket()
    if slow:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BYTES)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    process = _context.Process(target=_listen, args=(there, listening, slow), daemon=True)
    process.start()
    try:
        here.recv()
        yield listening.getsockname()[1], here
    finally:
        process.kill()
        process.join()
        listening.close()


def _listen(pipe: Connection, listening: socket.socket, slow: bool) -> None:
    pipe.send("ready")
    lines = 0
    while True:
        connection = listening.accept()[0]
        with contextlib.suppress(ConnectionResetError):  # switched off with something unread
            while data := connection.recv(_SLOW_BYTES if slow else 1 << 20):
                lines += data.count(b"\n")
                if slow:
                    time.sleep(_SLOW_SECONDS)
                else:
                    pipe.send(lines)
        connection.close()
