"""Every way to name a listener, and what is shown when it cannot be reached."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from dbaudit.agent.delivery.listener import Listener as Connection
from dbaudit.core.db_conns import AuditProtocol, DbConnsSettings
from dbaudit.core.errors import TransientError
from dbaudit.core.host_limits import HostLimits
from dbaudit.state.deliveries import DeliveryState

from tests.delivery.sending import Listener, Sending
from tests.host_limits import ANY_FOLDER
from tests.servers.processes import wait_for


def _has_ipv6() -> bool:
    with closing(socket.socket(socket.AF_INET6)) as tried:
        try:
            tried.bind(("::1", 0))
        except OSError:
            return False
    return True


@pytest.mark.parametrize(
    ("listens", "named"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        pytest.param("::1", "::1", marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")),
    ],
)
def test_listener_is_reached_by_its_name(sending: Sending, listens: str, named: str) -> None:
    with Listener((listens, 0)) as listener:
        sending.to(named, listener.port)
        database = sending.declare()
        sending.start()
        sending.write(database, 10)
        listener.wait_for_lines(10)
        assert listener.numbers(database) == list(range(10))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "listener.sock"


def test_unix_socket_gets_everything_once_and_tells_what_was_read(sending: Sending, path: Path) -> None:
    with Listener(str(path)) as listener:
        sending.to(str(path))
        database = sending.declare()
        sending.start()
        sending.write(database, 20_000)
        sending.wait_until_sent(database)
        wait_for(
            lambda: sending.delivery(database).confirmed_seq == sending.state.events.last_number(),
            "confirming without an end",
        )
        assert listener.numbers(database) == list(range(20_000))
        assert len(listener.connections) == 1


def test_unix_socket_that_is_closed_with_something_unread_gets_it_again(sending: Sending, path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path))
        listening.listen()
        sending.to(str(path))
        database = sending.declare()
        sending.write(database, 1000)
        sending.start()
        for turn in range(5):
            with listening.accept()[0] as connection:
                connection.recv(1000 * (turn + 1))
        assert sending.delivery(database).confirmed_seq == 0
    path.unlink()
    with Listener(str(path)) as listener:
        listener.wait_for_lines(1000)
        assert listener.numbers(database) == list(range(1000))


def test_unix_socket_that_is_not_read_delays_and_loses_nothing(sending: Sending, path: Path) -> None:
    with Listener(str(path), reading=False) as listener:
        sending.to(str(path))
        database = sending.declare()
        sending.write(database, 10_000)
        sending.start()
        wait_for(lambda: bool(listener.connections), "a connection")
        assert sending.delivery(database).sent_total == 0
        listener.reading.set()
        listener.wait_for_lines(10_000)
        assert listener.numbers(database) == list(range(10_000))


def _nothing(path: Path) -> None:
    pass


def _file(path: Path) -> None:
    path.write_text("no socket")


def _folder(path: Path) -> None:
    path.mkdir()


def _dead(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as dead:
        dead.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_nothing, "No such file or directory"),
        (_file, "the path is not a socket"),
        (_folder, "the path is not a socket"),
        (_dead, "nobody listens at this socket"),
    ],
)
def test_a_path_where_nobody_listens_is_shown_and_tried_again(
    sending: Sending, path: Path, make: Callable[[Path], None], reason: str
) -> None:
    make(path)
    sending.to(str(path))
    database = sending.declare()
    sending.write(database, 5)
    sending.start()
    wait_for(lambda: sending.delivery(database).state is DeliveryState.RETRYING, "showing")
    found = sending.delivery(database)
    assert found.error_code == "listener_unreachable"
    assert f"The listener {path} cannot be reached: {reason}." in (found.error or "")
    assert "PUT /v1/cluster/auditing/db_conns" in (found.error or "")
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    with Listener(str(path)) as listener:
        listener.wait_for_lines(5)
        assert listener.numbers(database) == list(range(5))
        wait_for(lambda: sending.delivery(database).error is None, "the failure going away")


def test_a_socket_that_the_agent_does_not_allow_is_refused_whether_or_not_it_is_there(
    path: Path, tmp_path: Path
) -> None:
    elsewhere = HostLimits(local_paths=(str(tmp_path / "elsewhere"),))
    settings = DbConnsSettings(audit_protocol=AuditProtocol.LOCAL, audit_address=str(path))
    told = set()
    with Listener(str(path)):
        with pytest.raises(TransientError) as refused:
            Connection(settings, elsewhere)
        told.add((refused.value.message, refused.value.remedy))
    with pytest.raises(TransientError) as refused:
        Connection(settings, elsewhere)
    told.add((refused.value.message, refused.value.remedy))
    ((message, remedy),) = told
    assert message.startswith(f"{path} is not below a folder")
    assert "DBAUDIT_LOCAL_PATHS" in (remedy or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_that_the_agent_may_not_open_is_a_failure_like_any_other(path: Path) -> None:
    settings = DbConnsSettings(audit_protocol=AuditProtocol.LOCAL, audit_address=str(path))
    with Listener(str(path)):
        path.chmod(0o600)
        with _as_somebody_else(), pytest.raises(TransientError, match="Permission denied"):
            Connection(settings, ANY_FOLDER)
        Connection(settings, ANY_FOLDER).close()


@contextmanager
def _as_somebody_else() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("address", "reason"),
    [("127.0.0.1", "Connection refused"), ("no-such-host.invalid", "")],
)
def test_an_address_that_does_not_answer_is_shown(sending: Sending, address: str, reason: str) -> None:
    with closing(socket.socket()) as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        sending.to(address, port)
        database = sending.declare()
        sending.start()
        wait_for(
            lambda: sending.delivery(database).state is DeliveryState.RETRYING,
            "showing",
        )
        assert f"The listener {address}:{port} cannot be reached: {reason}" in (
            sending.delivery(database).error or ""
        )


def test_a_listener_that_closes_at_once_is_shown_and_not_asked_in_a_loop(sending: Sending) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        sending.to(*listening.getsockname(), audit_reconnect_max_attempts=5)
        database = sending.declare()
        sending.write(database, 5)
        sending.start()
        for _attempt in range(6):
            listening.accept()[0].close()
        wait_for(lambda: sending.delivery(database).state is DeliveryState.GIVEN_UP, "giving up")
        assert "before it has read" in (sending.delivery(database).error or "")
        listening.setblocking(False)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_sender_never_takes_itself_for_the_listener() -> None:
    """TCP connects a port to itself when the kernel happens to choose it; all would seem to be read then."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        closing(socket.create_connection(listening.getsockname())) as probe,
    ):
        port = probe.getsockname()[1]  # of those that the kernel chooses for connections
        listening.accept()[0].close()
    settings = DbConnsSettings(audit_protocol=AuditProtocol.TCP, audit_address="127.0.0.1", audit_port=port)
    for _attempt in range(high - low):
        with pytest.raises(TransientError, match="Connection refused"):
            Connection(settings, ANY_FOLDER)
