"""The roles `server` and `agent` on a host of their own, and the services as their units start them."""

import grp
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dbaudit
import pytest

from tests.collection.hosts import Host, need_systemd_analyze, wheels
from tests.servers.postgresql import HOST, PostgresServer
from tests.servers.processes import new_run_folder, wait_for

PASSWORD = "c0llect; mé '\\"
STATE_PASSWORD = "st4te-secret"
EXPOSURE = 20  # of 100; systemd itself says OK from 10 to 50
GROUP = grp.getgrgid(os.getgid()).gr_name
NewHost = Callable[[], Host]


@pytest.fixture(scope="module")
def new_host(collections_path: Path) -> Iterator[NewHost]:
    """Makes hosts that share their virtual environments, since installing takes long."""
    with ExitStack() as folders:

        def folder(name: str) -> Path:
            path = new_run_folder(name)
            folders.callback(shutil.rmtree, path)
            path.chmod(0o755)
            return path

        installations, from_wheels = folder("opt"), wheels(folder("wheels"))
        yield lambda: Host(folder("host"), installations, from_wheels, collections_path)


def check_unit(unit: Path) -> None:
    """systemd itself finds nothing wrong with the unit, and that it lets the service do little."""
    for check in (["verify", "--man=no"], ["security", "--offline=true", f"--threshold={EXPOSURE}"]):
        command = [need_systemd_analyze(), *check, unit]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert unit.name not in done.stderr, done.stderr


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_a_server_is_installed_runs_as_its_unit_says_and_stays_as_it_is(new_host: NewHost) -> None:
    host = new_host()
    host.role("server", "--check", "--diff")
    assert not host.home.exists()
    assert not host.configuration.exists()

    output = host.role("server", "--diff")
    assert "Restart dbaudit-server" in output
    key = host.admin_key_file.read_text().strip()
    assert key.startswith("dbaudit_live_")
    assert key not in output
    assert [mode(host.home), mode(host.admin_key_file), mode(host.configuration / "dbaudit-server.toml")] == [
        *("0o700", "0o600", "0o600")
    ]
    again = host.role("server")
    assert "changed=0 " in again
    assert "RUNNING HANDLER" not in again

    check_unit(host.unit("dbaudit-server"))
    with host.running("dbaudit-server") as log:
        wait_for(lambda: "\nready" in log.read_text(), "dbaudit up")
        url = (host.home / "api.url").read_text().strip()
        with dbaudit.Client(api_url=url, api_key=key) as client:
            assert list(client.databases.list()) == []


def test_another_setting_restarts_and_a_wrong_one_changes_nothing(new_host: NewHost) -> None:
    host = new_host()
    file = host.configuration / "dbaudit-server.toml"
    host.role("server")
    host.variables |= {"dbaudit_local_paths": ["/srv/pg/log"], "dbaudit_listen_addresses": []}
    changed = host.role("server", "--diff", dbaudit_server_settings={"log_format": "json"})
    assert "changed=1 " in changed
    assert '+log_format = "json"' in changed
    assert "RUNNING HANDLER" in changed
    assert 'local_paths = ["/srv/pg/log"]\n' in file.read_text()
    assert "listen_addresses = []\n" in file.read_text()
    before = file.read_text()
    refused = host.role("server", fails=True, dbaudit_server_settings={"threads": 2})
    assert "The setting threads" in refused
    assert "from 4 to 1000" in refused
    assert file.read_text() == before


def test_a_certificate_that_the_account_cannot_use_is_told(new_host: NewHost) -> None:
    host = new_host()
    missing = {"dbaudit_server_tls_cert": "/nowhere/tls.crt", "dbaudit_server_tls_key": "/nowhere/tls.key"}
    output = host.role("server", fails=True, **missing)
    assert "The settings tls_cert and tls_key cannot be used" in output
    assert not (host.configuration / "dbaudit-server.toml").exists()


@pytest.fixture
def state_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database for a state."""
    postgres.create_role("roles_state", STATE_PASSWORD)
    postgres.execute_admin("create database roles_state owner roles_state encoding 'UTF8' template template0")
    yield f"postgresql://roles_state:{STATE_PASSWORD}@{HOST}:{postgres.port}/roles_state"
    postgres.execute_admin("drop database roles_state with (force)")
    postgres.execute_admin("drop role roles_state")


def test_site_installs_api_and_agent_on_one_state_and_verify_tells_how_the_databases_are(
    new_host: NewHost, postgres: PostgresServer, state_url: str
) -> None:
    host = new_host()
    host.variables |= {
        "dbaudit_server_agent": False,
        "dbaudit_state_url": state_url,
        "dbaudit_groups": [GROUP],
    }
    output = host.play("dbaudit.dbaudit.site", "--diff")
    assert STATE_PASSWORD not in output
    check_unit(host.unit("dbaudit-server"))
    check_unit(host.unit("dbaudit-agent"))
    assert f"\nSupplementaryGroups={GROUP}\n" in host.unit("dbaudit-agent").read_text()

    postgres.create_database("roles_shop")
    postgres.create_collector_role("roles_collector", PASSWORD, "roles_shop")
    shop = {
        "name": "shop",
        "type": "postgresql",
        "host": HOST,
        "port": postgres.port,
        "database": "roles_shop",
        "username": "roles_collector",
        "password": PASSWORD,
        "ssl_mode": "disable",
    }
    with host.running("dbaudit-server") as log, host.running("dbaudit-agent"):
        wait_for(lambda: "listening on" in log.read_text(), "dbaudit api")
        url = log.read_text().partition("listening on ")[2].split()[0]
        declared = host.play(
            "dbaudit.dbaudit.site", dbaudit_api_url=url, dbaudit_databases=[shop], dbaudit_wait=True
        )
        assert "changed=1 " in declared  # the databases, and nothing of what was installed before
        api = {"dbaudit_api_url": url, "dbaudit_api_key": host.admin_key_file.read_text().strip()}
        verified = host.play("dbaudit.dbaudit.verify", **api, dbaudit_verify_names=["shop"])
        missing = host.play(
            "dbaudit.dbaudit.verify", fails=True, **api, dbaudit_verify_names=["shop", "nowhere"]
        )
        assert "Not declared: nowhere" in missing
        with dbaudit.Client(api_url=url, api_key=api["dbaudit_api_key"]) as client:
            client.databases.update(next(iter(client.databases.list())).id, audit_status="paused")
        paused = host.play("dbaudit.dbaudit.verify", fails=True, **api)
        assert "Not audited: shop (connection connected, auditing paused)" in paused
    assert PASSWORD not in declared + verified + missing + paused
