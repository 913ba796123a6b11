"""A replica set: each member is read, and one that is down stops no other."""

from dbaudit.engine import EventType

from tests.engines.mongodb.conftest import DATABASE, USER, USER_PASSWORD, OnServer, collecting
from tests.engines.mongodb.targets import target
from tests.servers.mongodb import MongoServer


def log_in(server: MongoServer) -> None:
    with server.client(username=USER, password=USER_PASSWORD, authSource=DATABASE, appname="shop") as client:
        client.admin.command("ping")


def test_each_member_is_read_and_one_that_is_down_stops_no_other(members: list[MongoServer]) -> None:
    with collecting(members[0], log_source="remote") as reading:

        def places() -> set[str]:
            return {str((e.detail or {}).get("member")) for e in reading.of(USER, EventType.LOGIN_SUCCESS)}

        reading.until(lambda: len(reading.cursor["members"]) == 3, "every member")
        for server in members:
            log_in(server)
        reading.until(lambda: places() == {server.address for server in members}, "a log-in at each member")
        members[2].stop()
        reading.events.clear()
        for server in members[:2]:
            log_in(server)
        reading.until(lambda: len(places()) == 2, "the log-ins at the other members")
        members[2].start()
        reading.reopen()
        log_in(members[2])
        reading.until(lambda: members[2].address in places(), "a log-in at the member that came back")
        assert [(gap.detail or {})["source"] for gap in reading.gaps] == [f"getLog of {members[2].address}"]


def test_report_names_the_members(members: list[MongoServer]) -> None:
    with OnServer.engine.open(target(members[0])) as session:
        found = {diagnosis.code: diagnosis for diagnosis in session.test().diagnoses}["members"]
    assert all(server.address in found.detail for server in members)
