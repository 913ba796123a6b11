"""`dbaudit up`: one process tree that starts, ends, and mends itself."""

import json
import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest

from tests.cli.running import Up, command_lines, dbaudit, get, new_key
from tests.patience import PATIENCE_SECONDS
from tests.servers.certificates import CertificateAuthority
from tests.servers.processes import is_alive, wait_for

PLANTED = "Pl4nted-9d1e7c"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_on_a_free_port_and_ends_cleanly_on_a_signal(home: Path, number: int) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        assert f"listening on {up.url}\n" in up.output
        assert get(f"{up.url}/health/ready").json()["status"] == "ready"
        key = new_key(home)
        assert get(f"{up.url}/v1/databases", key).json()["data"] == []
        family = up.children()
        assert up.end(number) == 0
        assert not [process_id for process_id in family if is_alive(process_id)]
    assert up.output.endswith("stopped\n")
    assert not (home / "api.url").exists()


def test_its_files_are_private_and_the_key_hint_comes_once(home: Path) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        wait_for(lambda: "dbaudit keys create" in up.output, "the hint")
        assert mode(home) == 0o700
        assert mode(home / "encryption.keys") == 0o600
        assert mode(home / "state.db") == 0o600
        key = new_key(home)
        keys = (home / "encryption.keys").read_bytes()
        up.end()
    with Up(home, "--port", "0") as again:
        again.until_ready()
        assert get(f"{again.url}/v1/databases", key).status_code == 200
        assert (home / "encryption.keys").read_bytes() == keys
        assert again.end() == 0
    assert "dbaudit keys create" not in again.output


def test_no_child_outlives_a_parent_that_was_killed_and_the_home_can_be_used_again_at_once(
    home: Path,
) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        family = up.children()
        assert len(family) == 2
        up.process.kill()
        up.process.wait()
        with Up(home, "--port", "0") as again:
            again.until_ready()
            assert not [process_id for process_id in family if is_alive(process_id)]
            assert again.end() == 0


@pytest.mark.parametrize("command", ["api", "agent"])
def test_a_child_that_was_killed_is_started_again(home: Path, command: str) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        url = up.url
        killed = up.child(command)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: not is_alive(killed), "the end of the child")
        # A request in between waits in the backlog of the socket, which the parent keeps open.
        assert get(f"{url}/health/live").status_code == 200
        wait_for(lambda: get(f"{url}/health/ready").status_code == 200, "a new agent and a new API")
        assert up.child(command) != killed
        assert f"{command} was ended by SIGKILL" in up.output
        assert up.url == url
        assert up.end() == 0


def test_a_second_one_on_the_same_home_is_refused_and_the_first_goes_on(home: Path) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        second = dbaudit("up", "--home", home, "--port", "0")
        assert second.returncode == 3
        assert f"process {up.process_id}" in second.stderr
        assert str(home) in second.stderr
        assert get(f"{up.url}/health/ready").status_code == 200
        assert up.end() == 0


def test_a_taken_port_is_named_and_nothing_is_left_running(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        done = dbaudit("up", "--home", home, "--port", str(port))
    assert done.returncode == 3
    assert f"127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert not (home / "api.url").exists()


def test_a_key_file_that_others_can_read_is_refused_with_the_command_that_mends_it(home: Path) -> None:
    new_key(home)
    key_file = home / "encryption.keys"
    key_file.chmod(0o644)
    done = dbaudit("up", "--home", home, "--port", "0")
    assert done.returncode == 3
    assert f"chmod 600 {key_file}" in done.stderr
    assert mode(key_file) == 0o644


def test_a_lost_key_file_is_not_replaced_by_a_new_key(home: Path) -> None:
    new_key(home)
    (home / "encryption.keys").unlink()
    done = dbaudit("up", "--home", home, "--port", "0")
    assert done.returncode == 3
    assert "encryption.keys is not there" in done.stderr
    assert not (home / "encryption.keys").exists()


def test_a_child_that_its_configuration_ends_ends_the_tree_with_the_same_code(home: Path) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        (home / "encryption.keys").chmod(0o644)
        os.kill(up.child("agent"), signal.SIGKILL)
        assert up.process.wait(PATIENCE_SECONDS) == 3
        assert "chmod 600" in up.output


def test_it_speaks_tls_and_the_client_commands_trust_what_SSL_CERT_FILE_names(  # noqa: N802
    home: Path, tmp_path: Path
) -> None:
    authority = CertificateAuthority()
    credential = authority.server("127.0.0.1")
    certificate, key, ca = (tmp_path / name for name in ("api.crt", "api.key", "ca.crt"))
    certificate.write_text(credential.certificate)
    key.write_text(credential.key)
    ca.write_text(authority.certificate)
    tls = {"DBAUDIT_TLS_CERT": str(certificate), "DBAUDIT_TLS_KEY": str(key)}
    with Up(home, "--port", "0", **tls) as up:
        up.until_ready()
        assert up.url.startswith("https://127.0.0.1:")
        client = {"DBAUDIT_API_KEY": new_key(home)}
        listed = dbaudit("databases", "list", "--home", home, **client, SSL_CERT_FILE=str(ca))
        assert listed.returncode == 0, listed.stderr
        refused = dbaudit("databases", "list", "--home", home, **client)
        assert refused.returncode == 4
        assert "SSL_CERT_FILE" in refused.stderr
        assert up.end() == 0


def test_a_certificate_without_its_key_is_refused_before_anything_starts(home: Path, tmp_path: Path) -> None:
    authority = CertificateAuthority()
    (tmp_path / "a.crt").write_text(authority.server("127.0.0.1").certificate)
    (tmp_path / "b.key").write_text(authority.server("127.0.0.1").key)
    done = dbaudit(
        "up",
        "--home",
        home,
        DBAUDIT_TLS_CERT=str(tmp_path / "a.crt"),
        DBAUDIT_TLS_KEY=str(tmp_path / "b.key"),
    )
    assert done.returncode == 3
    assert "tls_cert" in done.stderr
    assert not home.exists()


def test_no_secret_of_the_settings_is_in_the_process_list_or_the_output(home: Path) -> None:
    key = "k1:" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
    secrets = {"DBAUDIT_ENCRYPTION_KEYS": key, "DBAUDIT_API_KEY": PLANTED, "DBAUDIT_LOG_LEVEL": "debug"}
    with Up(home, "--port", "0", **secrets) as up:
        up.until_ready()
        seen = command_lines()
        assert str(home) in seen
        assert up.end() == 0
    for secret in (PLANTED, key, key[3:]):
        assert secret not in seen
        assert secret not in up.output
    assert not (home / "encryption.keys").exists()


def test_a_password_in_the_state_url_is_in_no_error(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    dbaudit("secrets", "init", DBAUDIT_ENCRYPTION_KEY_FILE=str(keys))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = dbaudit(
        "keys",
        "list",
        "--debug",
        DBAUDIT_STATE_URL=f"postgresql://dbaudit:{PLANTED}@127.0.0.1:{port}/state",
        DBAUDIT_ENCRYPTION_KEY_FILE=str(keys),
    )
    assert done.returncode != 0
    assert PLANTED not in done.stdout + done.stderr


def test_a_request_that_waits_for_events_does_not_delay_the_end(home: Path) -> None:
    with Up(home, "--port", "0") as up:
        up.until_ready()
        key, url = new_key(home, "read:events"), up.url
        answers: list[int] = []

        def wait_for_events() -> None:
            following = f"{url}/v1/events?order=stored&cursor=end&wait_seconds=30"
            answers.append(get(following, key).status_code)

        waiting = threading.Thread(target=wait_for_events)
        waiting.start()
        wait_for(lambda: _was_used(home), "the API to take the request")
        assert up.end() == 0
        waiting.join()
    assert answers == [503]


def _was_used(home: Path) -> bool:
    keys = json.loads(dbaudit("keys", "list", "--home", home, "--output", "json").stdout)
    return all(key["last_used_at"] is not None for key in keys)
