"""One installation of dbaudit that collects a server: its state, its agents, and what it has stored."""

from collections import Counter
from pathlib import Path
from typing import Any

from dbaudit.agent import AgentSettings
from dbaudit.core.database import AuditOptions, AuditStatus, SslMode
from dbaudit.core.secret import Secret
from dbaudit.state import open_state
from dbaudit.state.collectors import CollectorState
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventOrder, EventQuery

from tests.faults.agents import AgentProcess
from tests.faults.steps import Step
from tests.faults.workload import Workload, mark_in
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

LEASE_SECONDS = 0.5
CATCH_UP_SECONDS = 60.0
COLLECTOR = ("collector", "collector-password-of-the-fault-tests")


class Lane:
    """A state of its own in ``folder`` (or at ``url``) with one database, the server, declared in it."""

    def __init__(
        self,
        folder: Path,
        server: PostgresServer,
        *,
        url: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._url = url or f"sqlite:///{folder / 'state.db'}"
        self._keys = folder / "keys"
        self.log = folder / "agent.log"
        self._lease_seconds = lease_seconds
        keys = keyring_from_file(self._keys, create=True)
        self.state = open_state(self._url, keys, lease_seconds=lease_seconds)
        declaration = Declaration(
            name="monitored",
            type="postgresql",
            host=server.host,
            port=server.port,
            database="postgres",
            username=COLLECTOR[0],
            ssl_mode=SslMode.DISABLE,
            audit_options=AuditOptions(mask_sensitive_data=False),
        )
        self.database = self.state.databases.create(declaration, {"password": Secret(COLLECTOR[1])})
        self._after: tuple[int, int] | None = None
        self._stored: Counter[str] = Counter()
        self._gaps: list[Any] = []

    def close(self) -> None:
        self.state.close()

    def agent(
        self, step: Step | None = None, passings: int = 1, *, name: str = "agent", lease_seconds: float = 0
    ) -> AgentProcess:
        """An agent, not started yet."""
        settings = AgentSettings(
            node_name=name,
            poll_interval_seconds=0.02,
            backoff_initial_seconds=0.05,
            backoff_max_seconds=0.2,
            state_retry_max_seconds=0.2,
            misconfigured_retry_seconds=0.2,
        )
        return AgentProcess(
            self._url,
            self._keys,
            self.log,
            settings,
            lease_seconds=lease_seconds or self._lease_seconds,
            step=step,
            passings=passings,
        )

    def wait_until_collecting(self) -> None:
        """From its first cursor on nothing may be missed."""
        wait_for(
            lambda: self.state.databases.get(self.database.id).audit_status is AuditStatus.ACTIVE,
            "collecting",
        )

    def node_id(self) -> str | None:
        """The node that collects."""
        return self.state.collectors.get(self.database.id).node_id

    def stored(self) -> Counter[str]:
        """How often each statement of a workload is stored."""
        more = True
        while more:
            wanted = EventQuery(
                database_id=self.database.id, order=EventOrder.STORED, after=self._after, limit=1000
            )
            page = self.state.events.query(wanted)
            for found in page.events:
                mark = mark_in(found.event.query)
                if mark is not None:
                    self._stored[mark] += 1
                if found.event.type == "collector.gap":
                    self._gaps.append(found.event)
            self._after, more = page.end, page.more
        return self._stored

    def check_exactly_once(self, workload: Workload) -> None:
        """Every statement that the server logged is stored once; nothing else; no gap is told of."""
        logged = workload.logged()
        assert workload.answered <= logged.keys(), "the harness lost records of the server's log"
        wait_for(
            lambda: sum(self.stored().values()) >= sum(logged.values()), "storing it all", CATCH_UP_SECONDS
        )
        assert self.stored() == logged
        assert max(logged.values()) == 1
        assert self._gaps == []
        collector = self.state.collectors.get(self.database.id)
        assert (collector.gaps_total, collector.rejected_total) == (0, 0)

    def check_cursor(self, server: PostgresServer) -> None:
        """What comes after it all is stored as well: the cursor leads on."""
        with Workload(server, "afterwards") as workload:
            wait_for(lambda: len(workload.answered) >= 5, "some more statements")
        wait_for(lambda: workload.answered <= self.stored().keys(), "storing what came afterwards")
        assert self.state.collectors.get(self.database.id).state is CollectorState.RUNNING
