"""MariaDB's events of server_audit against what clients know that they did, while the file is rotated."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dbaudit.core.event import AuditEvent, EventType

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb.monitored import MonitoredFile
from tests.engines.mariadb.targets import COLLECTOR
from tests.engines.mariadb.targets import PASSWORD as COLLECTORS_PASSWORD
from tests.servers.mariadb import RELEASES, MariaDBServer
from tests.truth.collecting import collected, now
from tests.truth.facts import differences
from tests.truth.mariadb_clients import PASSWORD, Client

KINDS = frozenset(
    {
        *(EventType.QUERY, EventType.CONNECTION, EventType.DISCONNECT),
        *(EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED),
    }
)
USERS = ("ada", "o'bri,en", "ünï\\x")
STEPS = 60


@pytest.fixture(scope="module", params=RELEASES, ids="mariadb-{}".format)
def server(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    settings = {
        "server_audit_events": "CONNECT,QUERY",
        "server_audit_excl_users": COLLECTOR,
        "server_audit_query_log_limit": 65536,
        "server_audit_file_rotate_size": 5000,
        "server_audit_file_rotations": 9,
    }
    with missing_engine_is_told(), MariaDBServer(request.param, settings=settings) as server:
        server.create_user(COLLECTOR, COLLECTORS_PASSWORD)
        yield server


def made(server: MariaDBServer, user: str, place: int, chance: random.Random) -> Client:
    """A client with accounts and a database of its own."""
    name, other = f"{user} {chance.randrange(10**6)}", f"other {chance.randrange(10**9)}"
    database = f"d{place}_{chance.randrange(10**6)}"
    for one in (database, f"{database}_other", f"{database}_denied"):
        server.execute_admin(f"create database {one}")
        server.execute_admin(f"create table {one}.t (id int primary key, v varchar(200))")
    server.execute_admin(f"insert into {database}.t values (0, 'there')")
    server.execute_admin(f"create procedure {database}.p(n int) insert into {database}.t values (-n, 'p')")
    for account in (name, other):
        server.create_user(account, PASSWORD, f"ALL ON {database}.*", f"ALL ON {database}_other.*")
    return Client(server, name, other, database, random.Random(chance.random()))


def test_events_are_what_the_clients_did(server: MariaDBServer, seed: int) -> None:
    chance = random.Random(seed)
    clients = [made(server, user, place, chance) for place, user in enumerate(USERS)]
    server.execute_admin("set global server_audit_file_rotations = 9")
    begin = now(MonitoredFile(server, source="file"))
    with ThreadPoolExecutor(len(clients)) as at_once:
        list(at_once.map(lambda client: client.work(STEPS // 6), clients))
        # As the test of the connection recommends, while nobody reads.
        server.execute_admin("set global server_audit_file_rotations = 99")
        list(at_once.map(lambda client: client.work(STEPS), clients))
    last = clients[0].server.connect(clients[0].user, PASSWORD)
    last.query("select 'the end'")
    last.close()

    def done(events: list[AuditEvent]) -> bool:
        return any(event.query == "select 'the end'" for event in events)

    events = collected(MonitoredFile(server, source="file"), begin, chance, done)
    end = next(event.session_id for event in events if event.query == "select 'the end'")
    events = [event for event in events if event.session_id != end]
    changed = [event for event in events if (event.detail or {}).get("change_user") and event.user is None]
    assert all(event.database is None for event in changed)
    assert len(changed) == sum(client.changes for client in clients)
    facts = [fact for client in clients for fact in client.facts]
    assert differences(facts, events, kinds=KINDS) == []
