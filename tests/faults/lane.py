"""One installation of dbaudit that collects a server: its state, its agents, and what it has stored."""

import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

from dbaudit.agent import AgentSettings
from dbaudit.core.database import AuditStatus
from dbaudit.core.errors import TransientError
from dbaudit.core.secret import Secret
from dbaudit.state import open_state
from dbaudit.state.collectors import CollectorState
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventOrder, EventQuery

from tests.faults.agents import AgentProcess
from tests.faults.monitored import COLLECTOR, declared
from tests.faults.steps import Step
from tests.faults.workload import Pgbench, Workload, mark_in
from tests.host_limits import ANY_FOLDER
from tests.servers.processes import wait_for

LEASE_SECONDS = 0.5


class Lane:
    """A state of its own in ``folder`` (or at ``url``) with one database, the server, declared in it.

    ``url`` and ``keys`` (a file) are what a process needs to open the state.
    """

    def __init__(
        self,
        folder: Path,
        server: Any,
        *,
        url: str | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.url = url or f"sqlite:///{folder / 'state.db'}"
        self.keys = folder / "keys"
        self.home = folder
        self.log = folder / "agent.log"
        self._lease_seconds = lease_seconds
        keys = keyring_from_file(self.keys, create=True)
        self.state = open_state(self.url, keys, lease_seconds=lease_seconds)
        self.database = self.state.databases.create(declared(server), {"password": Secret(COLLECTOR[1])})
        self._after: tuple[int, int] | None = None
        self._stored: Counter[str] = Counter()
        self._benched: Counter[str] = Counter()
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
            host_limits=ANY_FOLDER,
        )
        return AgentProcess(
            self.url,
            self.keys,
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
                elif found.event.application == Pgbench.NAME and found.event.type == "database.query":
                    self._benched[found.event.key] += 1
                if found.event.type == "collector.gap":
                    self._gaps.append(found.event)
            self._after, more = page.end, page.more
        return self._stored

    def wait_until_stored(self, workload: Workload, *, more: int) -> None:
        """Wait until so many more statements were answered, and they and all before them are stored."""
        number = len(workload.answered) + more
        wait_for(lambda: len(workload.answered) >= number, "more statements")
        answered = set(workload.answered)
        wait_for(lambda: answered <= self.stored().keys(), "storing them")

    def state_answers(self) -> bool:
        """Whether the state can be read."""
        try:
            self.state.databases.get(self.database.id)
        except TransientError:
            return False
        return True

    def check_exactly_once(self, workload: Workload) -> None:
        """Every statement that the server logged is stored once; nothing else; no gap is told of."""
        logged = workload.logged()
        assert workload.answered <= logged.keys(), "the harness lost records of the server's log"
        with contextlib.suppress(TimeoutError):
            wait_for(lambda: self.stored() >= logged, "storing it all")
        missing, twice = logged - self.stored(), self.stored() - logged
        assert not missing, self._told(missing)
        assert not twice, self._told(twice)
        assert max(logged.values()) == 1
        assert not self._gaps, [(gap.key, gap.detail) for gap in self._gaps]
        collector = self.state.collectors.get(self.database.id)
        assert (collector.gaps_total, collector.rejected_total) == (0, 0)

    def check_pgbench_exactly_once(self, pgbench: Pgbench) -> None:
        """The same for every statement of pgbench."""
        logged = pgbench.logged()

        def benched() -> Counter[str]:
            self.stored()
            return self._benched

        with contextlib.suppress(TimeoutError):
            wait_for(lambda: benched() >= logged, "storing it all")
        assert len(logged) > 100
        assert not logged - benched(), self._told(logged - benched())
        assert not benched() - logged, self._told(benched() - logged)

    def _told(self, marks: Counter[str]) -> str:
        return f"{len(marks)}: {sorted(marks)[:20]}\n{self.log.read_text()[-3000:]}"

    def check_cursor(self, server: Any) -> None:
        """What comes after it all is stored as well: the cursor leads on."""
        with Workload(server, "afterwards") as workload:
            wait_for(lambda: len(workload.answered) >= 5, "some more statements")
        wait_for(lambda: workload.answered <= self.stored().keys(), "storing what came afterwards")
        wait_for(
            lambda: self.state.collectors.get(self.database.id).state is CollectorState.RUNNING,
            "telling that it collects",
        )
