"""The role `source_audit` on real servers: afterwards, an agent's connection test succeeds."""

import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dbaudit
import pytest
import yaml
from dbaudit.sdk import TestReport

from tests.collection.conftest import Installation
from tests.collection.running import run_playbook
from tests.conftest import missing_engine_is_told
from tests.servers import mysql_clients
from tests.servers.installations import Client
from tests.servers.installations import installation as programs
from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import MySQLServer
from tests.servers.postgresql import HOST, PostgresServer
from tests.servers.processes import wait_for

PASSWORD = "c0llect; mé '\\"
OTHER_PASSWORD = "4nother; mé '\\"
Play = Callable[..., str]
Tested = Callable[..., TestReport]
# Waits until somebody has restarted the server.
RESTART = """
import pathlib, sys, time
asked, done = map(pathlib.Path, sys.argv[1:])
asked.touch()
deadline = time.monotonic() + 60
while not done.exists():
    if time.monotonic() > deadline: sys.exit("nobody restarted the server")
    time.sleep(0.05)
"""


@pytest.fixture
def play(collections_path: Path, tmp_path: Path) -> Play:
    """Plays the role on this host; what its secrets are must not be in the output."""
    playbook = tmp_path / "role.yml"
    tell = {"ansible.builtin.debug": {"msg": "RESULT {{ dbaudit_source_result | to_json }} RESULT"}}
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["dbaudit.dbaudit.source_audit"]}
    playbook.write_text(yaml.safe_dump([{**play, "post_tasks": [tell]}]))

    def run(variables: dict[str, Any], *options: str, fails: bool = False) -> str:
        file = tmp_path / "variables.yml"
        file.write_text(yaml.safe_dump(variables))
        given = ["-vvv", "--diff", "-e", f"@{file}", *options]
        faster = {"ANSIBLE_PIPELINING": "true"}
        done = run_playbook(playbook, collections_path, *given, environment=faster)
        assert (done.returncode != 0) is fails, done.stdout[-5000:]
        for secret in (PASSWORD, OTHER_PASSWORD, variables["dbaudit_source_login_password"]):
            assert secret not in done.stdout
            assert json.dumps(secret)[1:-1] not in done.stdout
        return done.stdout

    return run


def result(output: str) -> dict[str, Any]:
    """What the module said last."""
    found = re.findall(r'"msg": "RESULT (.*) RESULT"', output)
    said = json.loads(json.loads(f'"{found[-1]}"'))
    assert isinstance(said, dict)
    return said


@pytest.fixture
def tested(installation: Installation) -> Iterator[Tested]:
    """Declares a database to dbaudit, where it is none yet, and has an agent test it."""
    with dbaudit.Client(api_url=installation.url, api_key=installation.key) as client:
        made: dict[str, str] = {}

        def test(name: str, **fields: Any) -> TestReport:
            if name not in made:
                login = {"username": "dbaudit", "password": PASSWORD, "ssl_mode": "disable"}
                made[name] = client.databases.create(name=name, **login, **fields).id
            return client.databases.test(made[name])

        yield test
        for database_id in made.values():
            client.databases.delete(database_id)


@pytest.fixture
def bare_postgres() -> Iterator[PostgresServer]:
    """A server with pgaudit on its disk and none of the settings of the documentation."""
    nothing = {"logging_collector": False, "log_destination": "stderr", "log_connections": False}
    more = {"log_disconnections": False, "log_timezone": "Europe/Berlin"}
    with (
        missing_engine_is_told(),
        PostgresServer(17, settings={**nothing, **more}, installed=programs(17, pgaudit=True)) as server,
    ):
        server.create_database("audited_shop")
        yield server


def watched(program: Path, folder: Path) -> Path:
    """The program, which writes down what everybody sees of it in a process list."""
    script = folder / program.name
    script.write_text(f'#!/bin/sh\necho "$@" >> {folder}/arguments\nexec {program} "$@"\n')
    script.chmod(0o755)
    return script


def of_postgres(server: PostgresServer, client: Client) -> dict[str, Any]:
    return {
        "dbaudit_source_engine": "postgresql",
        "dbaudit_source_database": "audited_shop",
        "dbaudit_source_account_password": PASSWORD,
        "dbaudit_source_client": str(client.psql),
        "dbaudit_source_login_host": HOST,
        "dbaudit_source_login_port": server.port,
        "dbaudit_source_login_user": server.superuser,
        "dbaudit_source_login_password": server.superuser_password,
    }


@pytest.mark.parametrize("source", ["remote", "local"])
def test_postgresql_is_prepared_in_one_run_where_it_may_be_restarted(
    source: str,
    bare_postgres: PostgresServer,
    postgres_client: Client,
    play: Play,
    tested: Tested,
    tmp_path: Path,
) -> None:
    asked, done = tmp_path / "asked", tmp_path / "done"
    variables = {
        **of_postgres(bare_postgres, postgres_client),
        "dbaudit_source": source,
        "dbaudit_source_client": str(watched(postgres_client.psql, tmp_path)),
        "dbaudit_source_hba": ["host audited_shop dbaudit 127.0.0.1/32 scram-sha-256"],
        "dbaudit_source_restart": True,
        "dbaudit_source_restart_command": [sys.executable, "-c", RESTART, str(asked), str(done)],
    }

    def restart() -> None:
        wait_for(asked.exists, "the role asking for a restart")
        bare_postgres.restart()
        done.touch()

    restarting = threading.Thread(target=restart)
    restarting.start()
    output = play(variables)
    restarting.join()

    assert not result(output)["restart_required"]
    again = play(variables)
    assert "changed=0 " in again
    seen = (tmp_path / "arguments").read_text()
    assert "--dbname audited_shop" in seen
    assert PASSWORD not in seen
    assert bare_postgres.superuser_password not in seen
    hba = (bare_postgres.data_directory / "pg_hba.conf").read_text()
    assert hba.count("host audited_shop dbaudit") == 1
    place = {"type": "postgresql", "host": HOST, "port": bare_postgres.port, "database": "audited_shop"}
    report = tested(
        "prepared postgresql", **place, audit_options={"scope": "server", "engine": {"log_source": source}}
    )
    assert report.success
    assert not [found for found in report.diagnoses if found.status in ("failed", "warning")]


def test_postgresql_that_may_not_be_restarted_is_told_and_prepared_in_two_runs(
    bare_postgres: PostgresServer, postgres_client: Client, play: Play
) -> None:
    variables = of_postgres(bare_postgres, postgres_client)
    before = bare_postgres.execute_admin("select name, setting from pg_file_settings")
    planned = result(play(variables, "--check"))
    assert planned["changed"]
    assert bare_postgres.execute_admin("select name, setting from pg_file_settings") == before

    first = play(variables)
    assert result(first)["restart_reasons"] == ["logging_collector", "shared_preload_libraries"]
    assert "has to be restarted for logging_collector, shared_preload_libraries" in first
    assert result(first)["statements"] == planned["statements"]
    waiting = play(variables)
    assert "changed=0 " in waiting
    assert "has to be restarted" in waiting
    bare_postgres.restart()
    second = result(play(variables))
    assert second["changed"]
    assert "CREATE EXTENSION pgaudit;" in second["statements"]
    assert not second["restart_required"]
    assert "changed=0 " in play(variables)

    other = {**variables, "dbaudit_source_account_password": OTHER_PASSWORD}
    assert result(play(other, "--check"))["changed"]
    kept = {**other, "dbaudit_source_update_password": "on_create"}
    assert "changed=0 " in play(kept)
    assert "changed=1 " in play(other)


def test_postgresql_keeps_its_log_in_rules_when_the_new_ones_are_wrong(
    bare_postgres: PostgresServer, postgres_client: Client, play: Play
) -> None:
    file = bare_postgres.data_directory / "pg_hba.conf"
    before = file.read_text()
    variables = {**of_postgres(bare_postgres, postgres_client), "dbaudit_source_hba": ["host nonsense"]}
    output = play(variables, fails=True)
    assert "PostgreSQL refuses lines of hba" in output
    assert file.read_text() == before
    assert not bare_postgres.execute_admin("select from pg_roles where rolname = 'dbaudit'")


def of_mysql(server: MySQLServer, engine: str, folder: Path) -> dict[str, Any]:
    with missing_engine_is_told():
        client = mysql_clients.client(engine)
    return {
        "dbaudit_source_engine": engine,
        "dbaudit_source_account_host": HOST,
        "dbaudit_source_account_password": PASSWORD,
        "dbaudit_source_client": str(client),
        "dbaudit_source_login_unix_socket": str(server.socket),
        "dbaudit_source_login_user": "root",
        "dbaudit_source_login_password": server.superuser_password,
        "dbaudit_source_option_file": str(folder / "zz-dbaudit.cnf"),
        "dbaudit_source_unit_dir": str(folder),
    }


def without_general_log(command: list[str | Path]) -> list[str | Path]:
    """What the harness has on the command line comes before what files say."""
    return [part for part in command if not str(part).startswith(("--general-log=", "--log-output="))]


class BareMySQL(MySQLServer):
    """A server without the general log, until somebody turns it on; it keeps what SET PERSIST says."""

    def _command(self) -> list[str | Path]:
        nothing = self.folder / "empty.cnf"
        nothing.touch()
        command = without_general_log(super()._command())
        command[command.index("--no-defaults")] = f"--defaults-file={nothing}"
        return command


class BareMariaDB(MariaDBServer):
    """A server without any audit, which reads the option file of the role when it starts."""

    def _command(self) -> list[str | Path]:
        file = self.folder / "zz-dbaudit.cnf"
        command = without_general_log(super()._command())
        if file.exists():
            command[command.index("--no-defaults")] = f"--defaults-file={file}"
        return command


@pytest.mark.parametrize("source", ["file", "remote_file", "general_log"])
def test_mariadb_is_prepared_without_a_restart_and_stays_so_over_one(
    source: str, play: Play, tested: Tested
) -> None:
    with missing_engine_is_told(), BareMariaDB(audit=False, umask="0644") as server:
        variables = {**of_mysql(server, "mariadb", server.folder), "dbaudit_source": source}
        planned = result(play(variables, "--check"))
        first = result(play(variables))
        assert first["statements"] == planned["statements"]
        assert not first["restart_required"]
        place = {"type": "mariadb", "host": HOST, "port": server.port, "database": "information_schema"}
        options = {"engine": {"source": source}}
        report = tested("prepared mariadb", **place, audit_options=options)
        assert report.success, report
        server.stop()
        server.start()
        assert "changed=0 " in play(variables)
        assert tested("prepared mariadb").success


@pytest.mark.parametrize("source", ["general_log", "error_log"])
def test_mysql_is_prepared_without_a_restart_and_stays_so_over_one(
    source: str, play: Play, tested: Tested, tmp_path: Path
) -> None:
    with missing_engine_is_told(), BareMySQL("9.7") as server:
        variables = {**of_mysql(server, "mysql", tmp_path), "dbaudit_source": source}
        planned = result(play(variables, "--check"))
        first = result(play(variables))
        assert first["statements"] == planned["statements"]
        place = {"type": "mysql", "host": HOST, "port": server.port, "database": "information_schema"}
        options = {"engine": {"source": source}}
        assert tested("prepared mysql", **place, audit_options=options).success
        server.stop()
        server.start()
        assert "changed=0 " in play(variables)
        other = {**variables, "dbaudit_source_account_password": OTHER_PASSWORD}
        assert "changed=1 " in play(other)
        assert "changed=0 " in play(other)


def test_a_wrong_engine_and_a_wrong_source_are_told(play: Play, tmp_path: Path) -> None:
    with missing_engine_is_told(), MySQLServer("9.7") as server:
        variables = of_mysql(server, "mysql", tmp_path)
        wrong = play({**variables, "dbaudit_source_engine": "mariadb"}, fails=True)
        assert "set engine to mysql" in wrong
        assert "The source local is none of mysql" in play(
            {**variables, "dbaudit_source": "local"}, fails=True
        )
        nobody = play({**variables, "dbaudit_source_login_password": "wr0ng"}, fails=True)
        assert "Access denied" in nobody
