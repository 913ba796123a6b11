"""Settings that change while events are sent, and giving up."""

import re
import socket

import pytest
from dbaudit.api import ApiSettings, create_app
from dbaudit.state.deliveries import DeliveryState

from tests.api.conftest import ENGINES, Api
from tests.delivery.sending import Listener, Sending
from tests.servers.processes import wait_for


@pytest.fixture
def api(sending: Sending) -> Api:
    return Api(create_app(sending.state, engines=ENGINES, settings=ApiSettings()), sending.state)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        return int(reserved.getsockname()[1])


def test_address_and_protocol_change_without_loss_and_without_repetition(
    sending: Sending, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sockets")
    with Listener() as first, Listener(str(folder / "second")) as second, Listener() as third:
        database = None
        for listener in (first, second, third):
            sending.to(str(listener.address), listener.port)
            database = database or sending.declare()
            if listener is first:
                sending.start()
            for _turn in range(20):
                sending.write(database, 100)
            sending.wait_until_sent(database)
        assert database is not None
        sending.stop()
        came = [number for listener in (first, second, third) for number in listener.numbers(database)]
        assert came == list(range(6000))
        assert [len(listener.connections) for listener in (first, second, third)] == [1, 1, 1]


def test_changing_the_address_while_the_listener_is_stuck_loses_nothing(sending: Sending) -> None:
    with Listener(reading=False) as stuck, Listener() as other:
        sending.to(str(stuck.address), stuck.port)
        database = sending.declare()
        sending.write(database, 40_000)
        sending.start()
        wait_for(lambda: sending.delivery(database).sent_total > 0, "what the kernel takes")
        sending.to(str(other.address), other.port)
        wait_for(lambda: 39_999 in other.numbers(database), "the last event")
        assert other.numbers(database) == list(range(40_000))


def test_giving_up_is_shown_and_ended_by_a_put_of_the_same_settings(sending: Sending, api: Api) -> None:
    port = _free_port()
    settings = {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": port}
    settings["audit_reconnect_max_attempts"] = 1
    assert api.put("/v1/cluster/auditing/db_conns", json=settings).status_code == 200
    database = sending.declare()
    sending.write(database, 7)
    sending.start()

    def status() -> dict[str, object]:
        answer = api.get("/v1/cluster/auditing/db_conns/status").json
        assert answer is not None
        found: dict[str, object] = answer["databases"][0]
        return found

    wait_for(lambda: status()["state"] == "given_up", "giving up")
    shown = status()
    assert (shown["pending"], shown["sent"]) == (7, 0)
    assert "Connection refused" in str(shown["last_error"])
    later = sending.declare()
    wait_for(lambda: sending.delivery(later).state is DeliveryState.GIVEN_UP, "showing it for a new one, too")
    metrics = api.get("/metrics").get_data(as_text=True)
    label = re.escape(f'{{database_id="{database.id}"}}')
    assert re.search(rf"^dbaudit_db_conns_pending{label} 7.0$", metrics, re.MULTILINE)
    assert re.search(rf"^dbaudit_db_conns_connected{label} 0.0$", metrics, re.MULTILINE)
    with Listener(("127.0.0.1", port)) as listener:
        assert sending.delivery(database).state is DeliveryState.GIVEN_UP
        assert api.put("/v1/cluster/auditing/db_conns", json=settings).status_code == 200
        listener.wait_for_lines(7)
        wait_for(lambda: status()["state"] == "connected" and status()["sent"] == 7, "showing it")
        assert status()["last_error"] is None
        metrics = api.get("/metrics").get_data(as_text=True)
        assert re.search(rf"^dbaudit_db_conns_connected{label} 1.0$", metrics, re.MULTILINE)


def test_giving_up_is_ended_by_a_restart(sending: Sending) -> None:
    port = _free_port()
    sending.to("127.0.0.1", port, audit_reconnect_max_attempts=1)
    database = sending.declare()
    sending.write(database, 7)
    sending.start()
    wait_for(lambda: sending.delivery(database).state is DeliveryState.GIVEN_UP, "giving up")
    sending.stop()
    with Listener(("127.0.0.1", port)) as listener:
        sending.start()
        listener.wait_for_lines(7)


def test_a_long_interval_is_cut_short_by_new_settings(sending: Sending, listener: Listener) -> None:
    sending.to("127.0.0.1", _free_port(), audit_reconnect_interval=3600)
    database = sending.declare()
    sending.write(database, 3)
    sending.start()
    wait_for(lambda: sending.delivery(database).state is DeliveryState.RETRYING, "trying")
    sending.to(str(listener.address), listener.port)
    listener.wait_for_lines(3)


def test_switching_off_and_on_again_leaves_out_what_happened_between(
    sending: Sending, listener: Listener, api: Api
) -> None:
    sending.to(str(listener.address), listener.port)
    database, other = sending.declare(), sending.declare()
    sending.start()
    sending.write(database, 3)
    sending.wait_until_sent(database)
    path = f"/v1/databases/{database.id}"
    assert api.patch(path, json={"db_conns_auditing": False}).status_code == 200
    sending.write(database, 3)
    sending.write(other, 3)
    sending.wait_until_sent(other)
    assert api.patch(path, json={"db_conns_auditing": True}).status_code == 200
    sending.write(database, 3)
    listener.wait_for_lines(9)
    assert listener.numbers(database) == [0, 1, 2, 6, 7, 8]
    assert listener.numbers(other) == [0, 1, 2]
