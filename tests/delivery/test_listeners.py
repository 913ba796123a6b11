"""Listeners that are slow, deaf, away, or stubborn."""

import pytest
from dbaudit.agent.delivery import sender
from dbaudit.state.deliveries import DeliveryState

from tests.delivery.sending import Listener, Sending
from tests.servers.processes import wait_for


def test_every_event_arrives_once_and_in_order(sending: Sending, listener: Listener) -> None:
    sending.to(str(listener.address), listener.port)
    databases = [sending.declare() for place in range(3)]
    sending.start()
    for database in databases:
        sending.write(database, 20_000)
    for database in databases:
        sending.wait_until_sent(database)
    sending.stop()
    for database in databases:
        wait_for(lambda of=database: len(listener.numbers(of)) >= 20_000, "everything")  # type: ignore[misc]
        assert listener.numbers(database) == list(range(20_000))
        found = sending.delivery(database)
        assert found.confirmed_seq == found.sent_seq
        assert (found.state, found.reconnects_total) == (DeliveryState.STOPPED, 0)


def test_a_database_with_much_to_send_does_not_keep_another_one_waiting(
    sending: Sending, listener: Listener
) -> None:
    sending.to(str(listener.address), listener.port)
    loud, quiet = sending.declare(), sending.declare()
    sending.write(loud, 60_000)
    sending.write(quiet, 1)
    sending.start()
    wait_for(lambda: bool(listener.numbers(quiet)), "the event of the other one")
    assert len(listener.numbers(loud)) < 60_000


def test_a_listener_that_never_reads_delays_and_loses_nothing(sending: Sending) -> None:
    with Listener(reading=False) as listener:
        sending.to(str(listener.address), listener.port)
        database = sending.declare()
        sending.write(database, 60_000)
        sending.start()
        wait_for(lambda: bool(listener.connections), "a connection")
        wait_for(lambda: sending.delivery(database).sent_total > 0, "what the kernel takes")
        found = sending.delivery(database)
        assert found.state is DeliveryState.CONNECTED
        (backlog,) = sending.state.events.backlogs({found.database_no: found.sent_seq}).values()
        assert backlog.events == 60_000 - found.sent_total > 20_000
        assert found.confirmed_seq == 0
        sending.write(database, 3)  # nothing holds up the storing of more
        listener.reading.set()
        sending.wait_until_sent(database)
        listener.wait_for_lines(60_003)
        assert listener.numbers(database) == list(range(60_003))


def test_stopping_does_not_wait_for_a_listener_that_never_reads(sending: Sending) -> None:
    with Listener(reading=False) as listener:
        sending.to(str(listener.address), listener.port)
        database = sending.declare()
        sending.write(database, 60_000)
        sending.start()
        wait_for(lambda: sending.delivery(database).sent_total > 0, "what the kernel takes")
        sending.stop()
        assert sending.delivery(database).confirmed_seq == 0
        sending.start()
        listener.reading.set()
        wait_for(lambda: len(set(listener.numbers(database))) == 60_000, "everything")
    firsts = list(dict.fromkeys(listener.numbers(database)))
    assert firsts == sorted(firsts)


def test_what_happens_while_the_listener_is_away_arrives_once_and_in_order(sending: Sending) -> None:
    with Listener() as listener:
        port = listener.port or 0
        sending.to("127.0.0.1", port)
        database = sending.declare()
        sending.start()
        sending.write(database, 100)
        sending.wait_until_sent(database)
        listener.wait_for_lines(100)
    wait_for(lambda: sending.delivery(database).state is DeliveryState.RETRYING, "noticing")
    for number in range(50):
        sending.write(database, 100 + number)
    with Listener(("127.0.0.1", port)) as back:
        sending.wait_until_sent(database)
        sending.stop()
        assert back.numbers(database) == list(range(100, sending.written[database.id]))
    assert sending.delivery(database).reconnects_total == 1


def test_a_new_sender_goes_on_where_the_one_before_stopped(sending: Sending, listener: Listener) -> None:
    sending.to(str(listener.address), listener.port)
    database = sending.declare()
    for turn in range(4):
        sending.start()
        sending.write(database, 500)
        sending.wait_until_sent(database)
        sending.stop()
        assert listener.numbers(database) == list(range(500 * (turn + 1)))
        sending.write(database, 0)


def test_a_listener_that_does_not_close_when_the_sender_does_gets_everything_once(sending: Sending) -> None:
    with Listener(closing=False) as listener:
        sending.to(str(listener.address), listener.port)
        database = sending.declare()
        sending.start()
        sending.write(database, 12_000)
        sending.wait_until_sent(database)
        listener.wait_for_lines(12_000)
        assert len(listener.connections) > 1
        assert listener.numbers(database) == list(range(12_000))


def test_a_listener_that_talks_back_is_not_listened_to(sending: Sending, listener: Listener) -> None:
    sending.to(str(listener.address), listener.port)
    database = sending.declare()
    sending.start()
    sending.write(database, 1)
    listener.wait_for_lines(1)
    listener.connections[0].socket.sendall(b"what is that?\n" * 100_000)
    sending.write(database, 1)
    listener.wait_for_lines(2)
    assert listener.numbers(database) == [0, 1]
    assert len(listener.connections) == 1


def test_what_is_not_closed_for_long_is_confirmed_by_a_new_connection(
    sending: Sending, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_CONFIRM_SECONDS", 0.5)
    sending.to(str(listener.address), listener.port)
    database = sending.declare()
    sending.start()
    sending.write(database, 10)
    wait_for(
        lambda: sending.delivery(database).confirmed_seq == sending.state.events.last_number(), "confirming"
    )
    assert listener.numbers(database) == list(range(10))
