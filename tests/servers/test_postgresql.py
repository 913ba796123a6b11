"""The harness itself: what every other test takes for granted about its servers."""

import contextlib
import csv
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.servers import cache, processes
from tests.servers.installations import PGAUDIT_MAJORS, Client, Installation
from tests.servers.postgresql import PostgresServer, Tls
from tests.servers.processes import wait_for

StartServer = Callable[..., PostgresServer]


def _connect(server: PostgresServer, user: str, password: str, **options: str) -> None:
    psycopg.connect(server.conninfo(user, password, **options), autocommit=True).close()


def test_each_major_logs_logins_and_refusals_to_each_of_its_destinations(
    postgres_of_each_major: PostgresServer,
) -> None:
    server = postgres_of_each_major
    assert server.execute_admin("show server_version")[0][0].split(".")[0] == str(server.major)
    server.create_role("lena", "right")
    _connect(server, "lena", "right")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        _connect(server, "lena", "wrong")

    def rows() -> list[list[str]]:
        return list(csv.reader(server.current_log("csvlog").read_text().splitlines()))

    def says(code: str) -> bool:
        return any(row[1] == "lena" and row[12] == code for row in rows() if len(row) > 12)

    wait_for(lambda: says("28P01") and says("00000"), "both connections in csvlog")
    if server.major >= 15:
        wait_for(
            lambda: '"state_code":"28P01"' in server.current_log("jsonlog").read_text(),
            "the refusal in jsonlog",
        )


def test_each_major_serves_a_pgbench_workload(
    postgres_of_each_major: PostgresServer, postgres_client: Client
) -> None:
    server = postgres_of_each_major
    environment = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.superuser,
        "PGPASSWORD": server.superuser_password,
        "PGDATABASE": "postgres",
    }
    for arguments in (["--initialize", "--quiet"], ["--transactions=5", "--client=2", "--no-vacuum"]):
        subprocess.run(
            [postgres_client.pgbench, *arguments], env=environment, check=True, capture_output=True
        )
    assert server.execute_admin("select count(*) from pgbench_history") == [(10,)]


@pytest.mark.parametrize("major", PGAUDIT_MAJORS)
def test_pgaudit_logs_statements_with_their_objects(postgres_server: StartServer, major: int) -> None:
    server = postgres_server(major, pgaudit=True)
    server.execute_admin("create table audited (id int)")
    expected = "AUDIT: SESSION,1,1,DDL,CREATE TABLE,TABLE,public.audited,create table audited (id int)"
    wait_for(lambda: expected in server.current_log().read_text(), "the audit record of the table")


@pytest.mark.parametrize(
    ("language", "error"), [("de_DE", "FEHLER"), ("ja_JP", "ERROR"), ("fr_FR", "ERREUR")]
)
def test_localised_server_writes_its_log_in_its_language(
    postgres_server: StartServer, postgres_localised: Installation, language: str, error: str
) -> None:
    settings = {"lc_messages": f"{language}.UTF-8"}
    server = postgres_server(15, installed=postgres_localised, pgaudit=True, settings=settings)
    with pytest.raises(psycopg.errors.UndefinedColumn):
        server.execute_admin("select nosuch")
    wait_for(lambda: f",{error},42703," in server.current_log().read_text(), "the translated error")
    assert "connection authorized" not in server.current_log().read_text()


def test_collector_role_reads_the_log_without_being_superuser(postgres_of_each_major: PostgresServer) -> None:
    server = postgres_of_each_major
    server.create_collector_role("reader", "secret")
    with psycopg.connect(server.conninfo("reader", "secret")) as connection:
        assert connection.info.parameter_status("is_superuser") == "off"
        (path,) = connection.execute("select pg_current_logfile('csvlog')").fetchone() or ("",)
        query = (
            "select pg_read_binary_file(%s, 0, 100, true), (pg_stat_file(%s, true)).size from pg_ls_logdir()"
        )
        content, size = connection.execute(query, (path, path)).fetchone() or (b"", 0)
    assert len(content) == 100
    assert size >= 100


def test_killed_server_has_no_process_left_and_comes_back_with_its_data(postgres_server: StartServer) -> None:
    server = postgres_server(durable=True)
    server.execute_admin("create table kept as select 1 as id")
    port, family = server.port, [server.process_id, *processes.children(server.process_id)]
    server.kill()
    assert len(family) > 4
    assert not any(processes.is_alive(member) for member in family)
    server.start()
    assert server.port == port
    assert server.execute_admin("select id from kept") == [(1,)]


def test_spared_logger_writes_every_record_of_a_killed_server(postgres_server: StartServer) -> None:
    server = postgres_server(settings={"log_statement": "all"})
    log = server.current_log()
    with contextlib.closing(server.connect_admin()) as connection:
        for number in range(200):
            connection.execute("select %s", (f"record {number}",))
        server.kill(spare_logger=True)
    assert "record 199" in log.read_text()
    assert not server.is_running


def test_settings_hold_after_reload_and_rotation_names_another_file(postgres_server: StartServer) -> None:
    server = postgres_server()
    server.configure(log_statement="all")
    server.reload()
    assert server.execute_admin("show log_statement") == [("all",)]
    before = server.current_log()
    server.rotate_log()
    assert server.current_log() != before
    assert server.log_files() == [before, server.current_log()]


def test_tls_server_is_verified_by_its_authority_alone(postgres_server: StartServer, tmp_path: Path) -> None:
    server = postgres_server(tls=Tls.REQUIRED)
    server.create_role("lena", "right")
    authority, other = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.write_text(server.ca_certificate)
    other.write_text(PostgresServer().ca_certificate)
    for host in ("127.0.0.1", "localhost"):
        _connect(server, "lena", "right", host=host, sslmode="verify-full", sslrootcert=str(authority))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        _connect(server, "lena", "right", sslmode="verify-full", sslrootcert=str(other))
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        _connect(server, "lena", "right", sslmode="disable")


def test_client_certificate_logs_in_the_user_it_names_and_no_other(
    postgres_server: StartServer, tmp_path: Path
) -> None:
    server = postgres_server(tls=Tls.CLIENT_CERTIFICATE)
    for user in ("lena", "otto"):
        server.create_role(user, "unused")
    credential = server.client_certificate("lena")
    certificate, key = tmp_path / "lena.crt", tmp_path / "lena.key"
    certificate.write_text(credential.certificate)
    key.touch(mode=0o600)
    key.write_text(credential.key)
    files = {"sslmode": "require", "sslcert": str(certificate), "sslkey": str(key)}
    _connect(server, "lena", "", **files)
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        _connect(server, "otto", "", **files)


@pytest.fixture
def temporary_folder() -> Iterator[Path]:
    """Unlike tmp_path short enough for a socket, and open to the servers' account."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_server_of_a_killed_test_run_is_ended_by_the_next(temporary_folder: Path) -> None:
    start_and_die = """
        import os, signal
        from tests.servers.postgresql import PostgresServer
        server = PostgresServer().__enter__()
        print(server.process_id, server.folder, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "TMPDIR": str(temporary_folder)}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", textwrap.dedent(script)]
        return subprocess.run(
            command, cwd=cache.REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )

    killed = run(start_and_die)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    process_id, folder = killed.stdout.split()
    assert processes.is_alive(int(process_id))
    run("from tests.servers import processes; processes.new_run_folder('none')").check_returncode()
    processes.wait_until_gone([int(process_id)])
    assert not Path(folder).exists()


def test_failed_fetch_leaves_nothing_that_a_later_one_would_take_for_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path)

    def half(folder: Path) -> None:
        (folder / "part").touch()
        raise ConnectionError

    def whole(folder: Path) -> None:
        (folder / "all").touch()

    with pytest.raises(ConnectionError):
        cache.once("thing", half)
    assert [path.name for path in cache.once("thing", whole).iterdir()] == ["all"]
