"""The listener with real sockets: many senders, slow ones, strangers, and what their ends tell."""

import fcntl
import os
import resource
import select
import socket
import stat
import struct
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.core.report import CheckStatus, DiagnosisStatus

from tests.engines.redis_enterprise.clusters import (
    ENGINE,
    LIMIT_BYTES,
    Collecting,
    connected,
    target,
)
from tests.engines.redis_enterprise.records import AUTH, CLOSE_CONN, FIRST_GENERATION, NEW_CONN, marked
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import wait_for


@pytest.fixture(params=["TCP", "local"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    """Where to listen, over each of the protocols."""
    if request.param == "TCP":
        return target()
    return target(options={"protocol": "local", "socket_path": str(tmp_path / "db_conns.sock")})


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the system lets this process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files() -> int:
    """How many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def end_of(link: socket.socket) -> str:
    """How the agent ended a connection."""
    link.settimeout(PATIENCE_SECONDS)
    try:
        return "in order" if link.recv(1) == b"" else "with words"
    except ConnectionResetError:
        return "reset"


def test_the_notifications_of_a_session_arrive_complete_and_in_order(place: Target) -> None:
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(b"\n".join(FIRST_GENERATION) + b"\n")
        events = collecting.until_events(3)
        assert [event.type for event in events] == [
            "database.connection",
            "user.login_success",
            "database.disconnect",
        ]
        assert {event.session_id for event in events} == {"2285001002"}
        assert (events[2].user, events[2].duration_ms) == ("user_one", 0.0)
        assert not collecting.rejected


def test_an_event_does_not_wait_for_the_next_one(place: Target) -> None:
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(AUTH)
        collecting.until_events(1)


def test_200_connections_at_once_lose_nothing_and_keep_the_order_of_each(place: Target) -> None:
    nodes, each = 200, 50
    with Collecting(place) as collecting, ExitStack() as open_nodes:
        links = [open_nodes.enter_context(connected(place)) for _node in range(nodes)]

        def send() -> None:
            for number in range(each):
                for node, link in enumerate(links):
                    link.sendall(marked(node * 1000 + number))

        sending = threading.Thread(target=send)
        sending.start()
        collecting.until_events(nodes * each)
        sending.join()
    by_node: dict[int, list[int]] = {}
    for event in collecting.events:
        assert event.session_id is not None
        by_node.setdefault(int(event.session_id) // 1000, []).append(int(event.session_id) % 1000)
    assert by_node == {node: list(range(each)) for node in range(nodes)}
    assert not collecting.rejected
    assert len({event.key for event in collecting.events}) == nodes * each


def test_a_connection_that_ends_leaves_everything_that_it_said(place: Target) -> None:
    with Collecting(place) as collecting:
        for number in range(100):
            with connected(place) as node:
                node.sendall(marked(number) + b"\n" + marked(number + 1000)[:60])
        collecting.until_events(100)
        collecting.until(lambda: len(collecting.rejected) == 100, "the torn records")
    assert [event.session_id for event in collecting.events] == [str(number) for number in range(100)]


def test_a_sender_waits_while_the_state_is_away_and_nothing_is_lost(place: Target) -> None:
    records = 40_000
    stream = b"".join(marked(number) for number in range(records))
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(stream[:1000])
        kept = collecting.until_read()  # and the state is away: it cannot be stored
        node.setblocking(False)
        sent = 1000
        # What the kernel holds for both sides, and then no more: the sender is told to wait.
        while select.select([], [node], [], 0.5)[1]:
            sent += node.send(stream[sent : sent + 65_536])
            assert collecting.session.read(collecting.cursor, LIMIT_BYTES).cursor == kept.cursor
        assert sent < len(stream), "the kernel took everything: the test needs a longer stream"
        node.settimeout(PATIENCE_SECONDS)
        sending = threading.Thread(target=node.sendall, args=(stream[sent:],))
        sending.start()
        collecting.store(kept)
        collecting.until_events(records)
        sending.join()
    assert [event.session_id for event in collecting.events] == [str(number) for number in range(records)]


def test_a_chunk_that_was_not_stored_comes_again_with_the_same_keys(place: Target) -> None:
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(AUTH + NEW_CONN)
        before = collecting.until_read()
        node.sendall(CLOSE_CONN)
        again = collecting.read()
        assert (again.records, again.cursor) == (before.records, before.cursor)
        collecting.store(again)
        assert len(collecting.until_events(3)) == 3


def test_what_a_failed_session_had_received_is_handed_out_by_the_next(place: Target) -> None:
    collecting = Collecting(place)
    with connected_to(collecting) as node:
        node.sendall(NEW_CONN + AUTH[:40])
        collecting.until_read()
        node.sendall(AUTH[40:] + CLOSE_CONN)
        time_to_arrive(node)
        collecting.session.close()  # the state refused the chunk
    with Collecting(place, collecting.cursor) as second:
        assert [event.type for event in second.until_events(3)] == [
            "database.connection",
            "user.login_success",
            "database.disconnect",
        ]
        # What is known of the cluster's clients outlives the session, too.
        assert second.events[2].user == "user_one"


@contextmanager
def connected_to(collecting: Collecting) -> Iterator[socket.socket]:
    """A connection to a session that the test itself closes."""
    with connected(collecting.place) as node:
        yield node
    collecting.session.close()


def time_to_arrive(node: socket.socket) -> None:
    """Wait until the other side's kernel has everything that was sent."""

    def unsent() -> int:
        waiting = struct.pack("i", 0)
        return int(struct.unpack("i", fcntl.ioctl(node.fileno(), termios.TIOCOUTQ, waiting))[0])

    if node.family != socket.AF_UNIX:
        wait_for(lambda: unsent() == 0, "the other side's acknowledgement")


def test_a_session_that_finishes_hands_out_everything_before_it_ends(place: Target) -> None:
    collecting = Collecting(place)
    with connected(place) as node:
        node.sendall(b"".join(marked(number) for number in range(20_000)[:300]))
        time_to_arrive(node)
        collecting.finish()
        assert len(collecting.events) == 300
        assert end_of(node) == "in order"


def test_an_orderly_end_means_that_everything_is_stored(place: Target) -> None:
    """A sender that ends a connection and waits for the agent's end knows where it is."""
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(AUTH)
        node.shutdown(socket.SHUT_WR)
        collecting.until_read()
        assert not select.select([node], [], [], 0.1)[0], "the connection ended before its events were stored"
        collecting.step()
        collecting.until(lambda: bool(select.select([node], [], [], 0)[0]), "the end of the connection")
        assert end_of(node) == "in order"


def test_a_session_that_is_closed_before_it_stored_resets_the_connection(place: Target) -> None:
    collecting = Collecting(place)
    with connected(place) as node:
        node.sendall(AUTH)
        collecting.until_read()
        collecting.session.close()
        assert end_of(node) == "reset"


def test_a_killed_agent_resets_the_connection_of_what_it_had_not_stored(place: Target) -> None:
    started, process_id = os.pipe(), os.fork()
    if process_id == 0:
        collecting = Collecting(place)
        os.write(started[1], b"l")
        collecting.until_read()
        os.write(started[1], b"r")
        signal_never_comes = threading.Event()
        signal_never_comes.wait()
    assert os.read(started[0], 1) == b"l"
    with connected(place) as node:
        node.sendall(AUTH)
        assert os.read(started[0], 1) == b"r"
        os.kill(process_id, 9)
        os.waitpid(process_id, 0)
        assert end_of(node) == "reset"
    with Collecting(place):  # the port, or the socket that it left, can be used again
        pass


# -- strangers


def test_only_this_host_may_connect_where_nothing_else_is_allowed() -> None:
    place = target(host="0.0.0.0")
    with Collecting(place) as collecting, connected(at_host(place, "127.0.0.1")) as node:
        node.sendall(AUTH)
        collecting.until_events(1)


def at_host(place: Target, host: str) -> Target:
    return msgspec.structs.replace(place, host=host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::"])
def test_an_address_that_is_not_allowed_is_refused_counted_and_named(host: str) -> None:
    place = target(host=host, options={"allowed_addresses": ["127.0.0.2/31", "10.0.0.0/8"]})
    reached = at_host(place, "127.0.0.1")
    with Collecting(place) as collecting:
        with connected(reached, "127.0.0.3") as allowed, connected(reached, "127.0.0.1") as refused:
            allowed.sendall(AUTH)
            refused.sendall(AUTH)
            collecting.until_events(1)
            assert end_of(refused) in ("reset", "in order")
        for _again in range(10):
            collecting.step()
        assert len(collecting.events) == 1
        (warning,) = [d for d in collecting.session.test().diagnoses if d.code == "refused_senders"]
        assert "127.0.0.1 (1 times)" in warning.detail
        assert warning.remedy is not None
        assert "allowed_addresses" in warning.remedy


@pytest.mark.usefixtures("many_files")
def test_10000_idle_connections_do_not_keep_a_cluster_out() -> None:
    place = target(options={"max_connections": 300})
    idle: list[socket.socket] = []
    with Collecting(place) as collecting, connected(place) as first:
        first.sendall(marked(1))
        collecting.until_events(1)
        ended = 0
        descriptors = open_files()
        for _hundred in range(100):
            idle += [connected(place) for _connection in range(100)]
            collecting.step()
            while len(idle) > 2000:  # this process holds both ends
                idle.pop(0).close()
                ended += 1
        assert len(idle) + ended == 10_000
        with connected(place) as node:
            node.sendall(marked(2))
            first.sendall(marked(3))
            collecting.until_events(3)
        held = open_files() - descriptors - len(idle)
        assert held <= 300
        codes = {d.code: d for d in collecting.session.test().diagnoses}
        assert codes["max_connections"].status is DiagnosisStatus.WARNING
    for link in idle:
        link.close()


def test_hostile_senders_are_put_aside_while_a_cluster_is_served(place: Target) -> None:
    hostile = [
        b"A" * 65_536,
        b'{"a":' * 13_107,
        b"\xff\xfe" * 32_768,
        b'{"a":"' + b"A" * 65_530,
    ]
    with Collecting(place) as collecting, connected(place) as node, ExitStack() as others:
        links = [others.enter_context(connected(place)) for _kind in hostile]
        loris = others.enter_context(connected(place))

        def attack(link: socket.socket, part: bytes) -> None:
            for _part in range(1024):
                link.sendall(part)
            link.shutdown(socket.SHUT_WR)

        def serve(node: socket.socket, loris: socket.socket) -> None:
            for number in range(1000):
                node.sendall(marked(number))
                loris.send(b"{")

        attacks = [
            threading.Thread(target=attack, args=(link, part))
            for link, part in zip(links, hostile, strict=True)
        ]
        attacks.append(threading.Thread(target=serve, args=(node, loris)))
        for thread in attacks:
            thread.start()
        collecting.until(lambda: not any(thread.is_alive() for thread in attacks), "the attacks' end")
        collecting.until_events(1000)
        collecting.until(lambda: len(collecting.rejected) >= len(hostile), "what was put aside")
        for thread in attacks:
            thread.join()
        held = sum(c.framer.held_bytes for c in collecting.session._listener._connections.values())  # type: ignore[attr-defined]
        collecting.until(lambda: len(select.select(links, [], [], 0)[0]) == len(links), "the ends")
        assert {end_of(link) for link in links} == {"in order"}
        warnings = " ".join(collecting.session.test().warnings)
    assert Counter(event.session_id for event in collecting.events) == {str(n): 1 for n in range(1000)}
    assert f"{64 << 20} bytes" in " ".join(record.reason for record in collecting.rejected)
    assert max(len(record.raw) for record in collecting.rejected) <= 65_536
    assert "max_record_bytes" in warnings
    assert held <= 1_000_000


def test_unfinished_records_of_many_connections_are_given_up_before_memory_is() -> None:
    place = target()
    unfinished = b'{"a":"' + b"A" * 1_000_000
    with Collecting(place) as collecting, ExitStack() as open_links:
        links = [open_links.enter_context(connected(place)) for _link in range(80)]
        for link in links:
            sending = threading.Thread(target=link.sendall, args=(unfinished,))
            sending.start()
            collecting.until(lambda sending=sending: not sending.is_alive(), "the unfinished record")  # type: ignore[misc]
        listener = collecting.session._listener  # type: ignore[attr-defined]
        for _again in range(5):
            collecting.step()
        assert sum(c.framer.held_bytes for c in listener._connections.values()) <= 64 << 20
        for number, link in enumerate(links):
            link.sendall(b'"}\n' + marked(number))
        assert len(collecting.until_events(80)) == 80
        assert "max_record_bytes" in " ".join(collecting.session.test().warnings)


# -- places


def refused(place: Target) -> DbauditError:
    with pytest.raises(DbauditError) as caught:
        ENGINE.open(place)
    return caught.value


def test_the_socket_is_for_the_group_and_is_gone_after_the_session(tmp_path: Path) -> None:
    path = tmp_path / "db_conns.sock"
    with Collecting(target(options={"protocol": "local", "socket_path": str(path)})):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert not path.exists()


def test_a_socket_that_a_killed_agent_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "db_conns.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    place = target(options={"protocol": "local", "socket_path": str(path)})
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(AUTH)
        collecting.until_events(1)


def test_a_socket_on_which_somebody_listens_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "db_conns.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        error = refused(target(options={"protocol": "local", "socket_path": str(path)}))
        assert isinstance(error, TransientError)
        assert "listens on" in error.message
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))


def test_a_file_in_the_socket_s_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    error = refused(target(options={"protocol": "local", "socket_path": str(path)}))
    assert isinstance(error, ConfigurationError)
    assert "is no socket" in error.message
    assert path.read_text() == "data"


def test_a_missing_folder_is_told_with_what_makes_it(tmp_path: Path) -> None:
    error = refused(target(options={"protocol": "local", "socket_path": f"{tmp_path}/none/x.sock"}))
    assert error.remedy == f"mkdir -p {tmp_path}/none"


def test_a_port_on_which_another_program_listens_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        error = refused(target(port=other.getsockname()[1]))
    assert isinstance(error, TransientError)
    assert "listens on" in error.message


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("192.0.2.1", ErrorCode.CONFIGURATION_INVALID),
        ("no-such-host.invalid", ErrorCode.HOST_NOT_FOUND),
    ],
)
def test_a_host_that_is_not_this_one_is_told(host: str, code: ErrorCode) -> None:
    error = refused(target(host=host))
    assert isinstance(error, ConfigurationError)
    assert (error.code, error.remedy) == (
        code,
        "Give an address of the agent's own host, or 0.0.0.0 for all of them.",
    )


def test_a_test_while_collecting_neither_fails_nor_takes_the_port(place: Target) -> None:
    with Collecting(place) as collecting, connected(place) as node:
        node.sendall(AUTH)
        collecting.until_events(1)
        with ENGINE.open(place) as beside:
            report = beside.test()
            assert beside.health().connectivity is CheckStatus.HEALTHY
            with pytest.raises(TransientError):
                beside.read(None, LIMIT_BYTES)
        assert report.success
        codes = {diagnosis.code: diagnosis for diagnosis in report.diagnoses}
        assert codes["senders"].status is DiagnosisStatus.OK
        assert "(1)" in codes["senders"].detail
        assert "1 notifications have come" in codes["records"].detail
        node.sendall(CLOSE_CONN)
        collecting.until_events(2)


def test_a_test_before_collecting_takes_nobody_s_notifications_and_not_the_port(place: Target) -> None:
    with ENGINE.open(place) as test_only:
        report = test_only.test()
        with pytest.raises(ConnectionRefusedError):
            connected(place)
    assert (report.reachable, report.success) == (True, True)
    (senders,) = [diagnosis for diagnosis in report.diagnoses if diagnosis.code == "senders"]
    assert senders.status is DiagnosisStatus.WARNING
    assert senders.remedy is not None
    assert "/v1/cluster/auditing/db_conns" in senders.remedy
    assert "rladmin cluster config auditing db_conns audit_protocol" in senders.remedy
    assert str(place.options.get("socket_path", place.port)) in senders.remedy
    with Collecting(place):
        pass


def test_two_databases_cannot_listen_at_one_place(place: Target) -> None:
    with Collecting(place):
        error = refused(msgspec.structs.replace(place, database_id="db_other"))
    assert isinstance(error, ConfigurationError)
    assert place.database_id in error.message


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"protocol": "tcp"}, ""),
        ({"protocol": "local"}, "/socket_path"),
        ({"protocol": "local", "socket_path": "relative"}, "/socket_path"),
        ({"protocol": "local", "socket_path": "/" + "x" * 107}, "/socket_path"),
        ({"socket_path": "/run/x.sock"}, "/socket_path"),
        ({"allowed_addresses": ["10.0.0.1/8"]}, "/allowed_addresses/0"),
        ({"allowed_addresses": ["10.0.0.0/8", "host"]}, "/allowed_addresses/1"),
        ({"max_connections": 0}, "/max_connections"),
        ({"max_record_bytes": 100}, "/max_record_bytes"),
        ({"unknown": 1}, ""),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, object], pointer: str) -> None:
    error = refused(target(options=options))
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert [detail.pointer for detail in error.details] == [f"/audit_options/engine{pointer}"]


def test_health_follows_the_connections(place: Target) -> None:
    with Collecting(place) as collecting:
        assert collecting.session.health().connectivity is CheckStatus.UNKNOWN
        with connected(place):
            collecting.until(
                lambda: collecting.session.health().connectivity is CheckStatus.HEALTHY, "the connection"
            )
        collecting.until(
            lambda: collecting.session.health().connectivity is CheckStatus.WARNING, "the connection's end"
        )
        assert collecting.session.health().disk_space is CheckStatus.UNKNOWN


def test_warnings_where_the_network_can_listen_in_or_everybody_may_send() -> None:
    with ENGINE.open(target(host="0.0.0.0", options={"allowed_addresses": ["0.0.0.0/0"]})) as session:
        codes = {d.code for d in session.test().diagnoses if d.status is DiagnosisStatus.WARNING}
    assert codes == {"senders", "allowed_addresses", "encryption"}
    with ENGINE.open(target(host="0.0.0.0", capture_results=True)) as session:
        found = {d.code: d for d in session.test().diagnoses}
    assert found["row_counts"].status is DiagnosisStatus.WARNING
    assert "ADDRESS_OF_THE_AGENT" in (found["senders"].remedy or "")
    assert "allowed_addresses is empty" in found["allowed_addresses"].detail


def test_a_session_can_be_closed_twice_and_opened_again_at_once(place: Target) -> None:
    for _time in range(20):
        with Collecting(place) as collecting, connected(place):
            collecting.step()
        collecting.session.close()


def test_collecting_keeps_up_with_a_fast_sender() -> None:
    records = 60_000
    stream = b"\n".join([AUTH] * records) + b"\n"
    place = target()
    with Collecting(place) as collecting, connected(place) as node:
        started = time.perf_counter()
        sending = threading.Thread(target=node.sendall, args=(stream,))
        sending.start()
        while len(collecting.events) < records:
            collecting.step()
        seconds = time.perf_counter() - started
        sending.join()
    assert not collecting.rejected
    print(f"{records / seconds:.0f} notifications a second read and decoded in one thread")
