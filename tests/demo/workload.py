"""A workload that is known to the last statement: clients that come and go, failed log-ins, and pgbench."""

import os
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg import sql

from tests.servers.postgresql import PostgresServer

CLIENTS = 3
STATEMENTS_A_SESSION = 20
PAUSE_SECONDS = 0.02
SESSION_PAUSE_SECONDS = 0.3
FAILED_LOGIN_PAUSE_SECONDS = 1.0
PGBENCH_CLIENTS = 2
PGBENCH_TRANSACTIONS = 25
PGBENCH_RATE = 40


@dataclass
class Done:
    """What the workload did: each statement's mark with the time of its end, each session by its
    application's name, each refused user, and pgbench's own count of its transactions.
    """

    statements: dict[str, float] = field(default_factory=dict)
    sessions: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    pgbench_transactions: int = 0


class Workload:
    """Runs on ``server`` in a database of its own until it is stopped."""

    database = "shop"
    collector = "dbaudit"
    user = "app"

    def __init__(self, server: PostgresServer, pgbench: Path) -> None:
        self.collector_password = secrets.token_urlsafe(24)
        self._server = server
        self._pgbench = pgbench
        self._password = secrets.token_urlsafe(24)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._done = Done()

    def prepare(self) -> None:
        """Make the database, its users and pgbench's tables."""
        self._server.create_role(self.user, self._password)
        self._server.create_database(self.database)
        self._server.execute_admin(
            sql.SQL("alter database {} owner to {}").format(
                sql.Identifier(self.database), sql.Identifier(self.user)
            )
        )
        self._server.create_collector_role(self.collector, self.collector_password, self.database)
        subprocess.run(
            [self._pgbench, "--initialize", "--quiet", *self._address()],
            env=self._environment(),
            check=True,
            capture_output=True,
        )

    def start(self) -> None:
        """Start the clients and pgbench."""
        for number in range(CLIENTS):
            self._threads.append(threading.Thread(target=self._come_and_go, args=(number,)))
        self._threads.append(threading.Thread(target=self._fail_to_log_in))
        self._threads.append(threading.Thread(target=self._run_pgbench))
        for thread in self._threads:
            thread.daemon = True
            thread.start()

    def stop(self) -> Done:
        """Stop everything; returns what was done."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self._done

    def _come_and_go(self, number: int) -> None:
        session = 0
        while not self._stop.is_set():
            application = f"client-{number}-{session}"
            with self._session(application) as connection:
                for statement in range(STATEMENTS_A_SESSION):
                    mark = f"mark_{number}_{session}_{statement}"
                    # Literals are masked and names are not: the mark is a name.
                    connection.execute(sql.SQL("select {} as {}").format(statement, sql.Identifier(mark)))
                    self._done.statements[mark] = time.time()
                    if self._stop.wait(PAUSE_SECONDS):
                        break
            self._done.sessions.add(application)
            session += 1
            self._stop.wait(SESSION_PAUSE_SECONDS)

    def _fail_to_log_in(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            user = f"intruder_{attempt}"
            try:
                psycopg.connect(self._server.conninfo(user, "guess", self.database)).close()
            except psycopg.OperationalError:
                self._done.refused.add(user)
            attempt += 1
            self._stop.wait(FAILED_LOGIN_PAUSE_SECONDS)

    def _run_pgbench(self) -> None:
        while not self._stop.is_set():
            done = subprocess.run(
                [
                    *(self._pgbench, f"--client={PGBENCH_CLIENTS}", f"--transactions={PGBENCH_TRANSACTIONS}"),
                    *(f"--rate={PGBENCH_RATE}", "--no-vacuum", *self._address()),
                ],
                env=self._environment(),
                capture_output=True,
                start_new_session=True,
                check=False,
            )
            if done.returncode == 0:
                self._done.pgbench_transactions += PGBENCH_CLIENTS * PGBENCH_TRANSACTIONS

    @contextmanager
    def _session(self, application: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
        address = self._server.conninfo(
            self.user, self._password, self.database, application_name=application
        )
        with psycopg.connect(address, autocommit=True) as connection:
            yield connection

    def _address(self) -> list[str]:
        return [
            "--host",
            self._server.host,
            "--port",
            str(self._server.port),
            "--username",
            self.user,
            self.database,
        ]

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "PGPASSWORD": self._password}
