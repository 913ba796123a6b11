"""A hundred thousand events to a listener that ends its connections in every way there is."""

import itertools
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from tests.delivery import listener_process
from tests.delivery.sending import Listener, Sending, in_folder, numbers_in
from tests.servers.processes import wait_for

_DATABASES = 4
_EVENTS = 100_000
_DISCONNECTS = 200
_KILLS_AFTER = 12
_MOVE_EVERY = 4
_SEED = 20261121


def test_nothing_is_lost_and_order_is_kept_through_two_hundred_disconnects(
    sending: Sending, tmp_path: Path
) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    listening = socket.create_server(("127.0.0.1", 0))
    sending.to(*listening.getsockname(), audit_reconnect_interval=1)
    databases = [sending.declare() for place in range(_DATABASES)]
    process = _listen(listening, folder, 0)
    sending.start()
    starts = 0
    try:
        for starts in itertools.count(1):
            while process.poll() is None and _disconnects(folder) < _DISCONNECTS:
                # Written as it goes, so that there is something to send at every disconnect.
                wanted = min(_EVENTS, _EVENTS * (_disconnects(folder) + 20) // _DISCONNECTS) // _DATABASES
                for database in databases:
                    sending.write(database, max(0, wanted - sending.written[database.id]))
                time.sleep(0.01)
            if process.poll() is None:
                break
            assert process.returncode == -signal.SIGKILL
            if starts % _MOVE_EVERY == 0:
                listening.close()
                listening = socket.create_server(("127.0.0.1", 0))
                sending.to(*listening.getsockname())
            process = _listen(listening, folder, starts)
        (tmp_path / "peace").touch()
        for database in databases:
            sending.write(database, _EVENTS // _DATABASES - sending.written[database.id])
        wait_for(lambda: _all_sent(sending), "sending everything")
        sending.stop()
        wait_for(lambda: not any(folder.glob("*.open")), "the listener reading the rest")
    finally:
        process.kill()
        process.wait()
        listening.close()
    connections = list(in_folder(folder))
    ways = Counter(way for way, data in connections)
    assert ways.total() - ways["eof"] >= _DISCONNECTS, ways
    duplicates = 0
    for database in databases:
        duplicates += _check(database.id, connections, sending.written[database.id])
    forced = ways.total() - ways["eof"]
    print(
        f"\n{_EVENTS} events through {forced} disconnects ({dict(ways)}, {starts} processes): nothing lost,"
        f" {duplicates} sent twice"
    )


def _listen(listening: socket.socket, folder: Path, start: int) -> subprocess.Popen[bytes]:
    number = listening.fileno()
    arguments = [str(number), str(folder), str(_SEED + start), str(_KILLS_AFTER)]
    return subprocess.Popen(
        [sys.executable, "-S", "-E", listener_process.__file__, *arguments], pass_fds=[number]
    )


def _disconnects(folder: Path) -> int:
    return sum(path.suffix not in (".eof", ".open") for path in folder.iterdir())


def _all_sent(sending: Sending) -> bool:
    return all(
        found.sent_total == sending.written[found.database_id] for found in sending.state.deliveries.all()
    )


def _check(database_id: str, connections: list[tuple[str, bytes]], events: int) -> int:
    """Everything there, no event before one that precedes it, and events again only after a forced end.

    Returns how many came again.
    """
    next_number, following, again = 0, 0, 0
    forced = False
    for way, data in connections:
        numbers = numbers_in(data).get(database_id, [])
        if numbers:
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "a hole within a connection"
            assert numbers[0] <= next_number, f"events {next_number} to {numbers[0]} are lost"
            assert numbers[0] == following or forced, "sent again after an orderly end"
            again += min(next_number, numbers[-1] + 1) - numbers[0]
            following = numbers[-1] + 1
            next_number = max(next_number, following)
            forced = False
        forced = forced or way != "eof"
    assert next_number == events
    return again


def test_a_quiet_connection_that_ends_in_order_repeats_nothing(sending: Sending) -> None:
    database = None
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    for turn in range(5):
        with Listener(("127.0.0.1", port)) as listener:
            if database is None:
                sending.to(str(listener.address), listener.port)
                database = sending.declare()
                sending.start()
            sending.write(database, 3000)
            sending.wait_until_sent(database)
            listener.wait_for_lines(3000)
            seen += listener.numbers(database)
        assert seen == list(range(3000 * (turn + 1)))


def test_connections_that_are_cut_within_a_line_lose_nothing(sending: Sending) -> None:
    cuts = random.Random(_SEED)
    parts = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        sending.to("127.0.0.1", port)
        database = sending.declare()
        sending.write(database, 100)
        sending.start()
        for cut in [cuts.randrange(1, 400) for place in range(10)]:
            with listening.accept()[0] as connection:
                part = b""
                while len(part) < cut:
                    part += connection.recv(cut - len(part))
                parts.append(part)
    with Listener(("127.0.0.1", port)) as listener:
        wait_for(lambda: 99 in listener.numbers(database), "the last event")
        sending.stop()
        seen = [number for part in parts for number in numbers_in(part).get(database.id, [])]
        assert set(seen + listener.numbers(database)) == set(range(100))
    firsts = list(dict.fromkeys(seen + listener.numbers(database)))
    assert firsts == sorted(firsts)


def test_an_end_that_a_reset_follows_confirms_nothing(sending: Sending) -> None:
    """As socketserver of Python does it: shutdown(2), then close(2) with something unread."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sending.to(*listening.getsockname())
        database = sending.declare()
        sending.write(database, 100)
        sending.start()
        with listening.accept()[0] as connection:
            sending.wait_until_sent(database)
            connection.recv(1000)
            connection.shutdown(socket.SHUT_WR)
        with listening.accept()[0] as connection:
            assert numbers_in(connection.recv(1000))[database.id][0] == 0
    assert sending.delivery(database).reconnects_total == 1
