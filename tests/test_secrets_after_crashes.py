"""Failing log-ins, rogue servers and processes that die with core dumps allowed leave no secret behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.running import Up, new_key
from tests.patience import PATIENCE_SECONDS
from tests.planted import Planted, core
from tests.servers.certificates import CertificateAuthority
from tests.servers.listening import listening
from tests.servers.processes import PROC, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="core dumps and /proc are those of Linux")
_CRASHES = """
import os, sys
held = sys.argv[1][::-1]
os.abort()
"""


@pytest.fixture
def core_dumps_allowed() -> Iterator[None]:
    """As after `ulimit -c unlimited`, for the processes of a test."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.usefixtures("core_dumps_allowed")
def test_no_planted_secret_is_left_by_failures_and_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, work, temporary = (tmp_path / name for name in ("home", "work", "temporary"))
    work.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(work)  # where a core dump would be written
    planted = Planted()
    credential = CertificateAuthority().client("collector")
    planted.cores["a private key"] = credential.key.splitlines()[2]
    places: dict[str, bytes] = {}
    up = Up(home, "--port", "0", DBAUDIT_LOG_LEVEL="debug", TMPDIR=str(temporary))
    with up, _thief() as (port, received):
        up.until_ready()
        key = planted.cores["an API key"] = new_key(home)
        client = httpx.Client(
            base_url=up.url,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=PATIENCE_SECONDS,
        )

        def send(method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
            answer = client.request(method, path, json=body)
            places[f"answer {len(places)} to {method} {path}"] = answer.content
            return answer

        declared = {}
        for engine in ("postgresql", "mysql"):
            body = {
                "name": engine,
                "type": engine,
                "host": "127.0.0.1",
                "port": port,
                "database": engine,
                "username": "collector",
                "ssl_mode": "disable",
                "ssl_cert": credential.certificate,
                "ssl_key": credential.key,
            }
            verified = {
                **body,
                "database": f"{engine} 2",
                "password": planted.plant(f"a verified one of {engine}"),
            }
            assert send("POST", "/v1/databases?verify=true", verified).status_code == 422
            stored = {**body, "password": planted.plant(f"the stored one of {engine}")}
            declared[engine] = send("POST", "/v1/databases", stored).json()["id"]
            changed = {"password": planted.plant(f"a changed one of {engine}"), "port": port}
            assert send("PATCH", f"/v1/databases/{declared[engine]}?verify=true", changed).status_code == 422
            assert send("POST", f"/v1/databases/{declared[engine]}/test").status_code == 422
        for each in declared.values():
            wait_for(
                lambda path=f"/v1/databases/{each}": send("GET", path).json()["status"] != "pending",  # type: ignore[misc]  # bound now
                "the failure",
            )
        places |= _processes(up)
        places |= {f"{file} while running": file.read_bytes() for file in _files(tmp_path)}
        for command, number in (("agent", signal.SIGABRT), ("api", signal.SIGQUIT)):
            child = up.child(command)
            os.kill(child, number)
            wait_for(lambda gone=child: gone not in up.children(), f"the end of {command}")  # type: ignore[misc]  # bound now
            assert up.child(command) != child
        up.end(signal.SIGABRT)
        client.close()
    places["what rogue servers were sent"] = b"".join(received)
    places["the log"] = up.output.encode()
    places |= {str(file): file.read_bytes() for file in _files(tmp_path)}
    assert b"collector" in places["what rogue servers were sent"], "no log-in was tried"
    encryption_key = (home / "encryption.keys").read_text().partition(":")[2].strip()
    planted.cores["the encryption key"] = encryption_key.rstrip("=")
    leaks = {place: found for place, content in places.items() if (found := planted.found_in(content))}
    assert leaks.pop(str(home / "encryption.keys")) == ["the encryption key"]
    assert leaks.pop(f"{home / 'encryption.keys'} while running") == ["the encryption key"]
    assert leaks == {}, "\n".join(f"{place}: {found}" for place, found in leaks.items())
    assert not list(work.iterdir()), "a process has left its core"
    _check_that_others_leave_cores(work)


def _check_that_others_leave_cores(work: Path) -> None:
    """Without that, finding none would mean nothing."""
    if (PROC / "sys/kernel/core_pattern").read_text().strip() not in ("core", "core.%p"):
        pytest.skip("this system puts core dumps elsewhere; that none was written here means little")
    word = core()
    subprocess.run([sys.executable, "-c", _CRASHES, word[::-1]], cwd=work, check=False)
    (dump,) = work.iterdir()
    assert word.encode() in dump.read_bytes()


def _processes(up: Up) -> Mapping[str, bytes]:
    return {
        f"/proc/{process_id}/{kind}": (PROC / str(process_id) / kind).read_bytes()
        for process_id in (up.process_id, *up.children())
        for kind in ("cmdline", "environ")
    }


def _files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


@contextmanager
def _thief() -> Iterator[tuple[int, list[bytes]]]:
    """A server that greets as MySQL does, answers as PostgreSQL does, and asks both for the password."""
    received: list[bytes] = []
    greeting = b"\x0a8.4.2\x00" + struct.pack("<I", 7) + b"abcdefgh\x00\xff\xf7\x21\x02\x00\xff\x81\x15"
    greeting += bytes(10) + b"ijklmnopqrst\x00mysql_native_password\x00"

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(0.5)
            try:
                received.append(connection.recv(4096))  # a client of PostgreSQL speaks first
                answer = b"R" + struct.pack("!II", 8, 3)
            except TimeoutError:
                connection.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
                received.append(connection.recv(4096))
                answer = b"\xfemysql_clear_password\x00"
                answer = len(answer).to_bytes(3, "little") + b"\x02" + answer
            connection.sendall(answer)
            while said := connection.recv(4096):
                received.append(said)

    with listening(serve) as port:
        yield port, received
