"""The service of the demonstration: `dbaudit up`, a key, and the playbook that declares the database."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from tests.demo.place import collections_path
from tests.servers.postgresql import PostgresServer

PROGRAMS = Path(sys.executable).parent
START_SECONDS = 30.0
STOP_SECONDS = 40.0


class ServiceFailedError(Exception):
    """The service, or the playbook, did not do what it should; the text says where to look."""


class Service:
    """`dbaudit up` on a home of its own, listening on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._home = folder / "home"
        self.url = ""
        self.key = ""

    def __enter__(self) -> Self:
        with (self._folder / "service.log").open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "dbaudit", "up", "--home", self._home, "--port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for the demonstration, which ends the service in its turn
            )
        try:
            self._wait_until_ready()
            self.key = self._new_key()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def is_running(self) -> bool:
        return self._process.poll() is None

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The answer of the API."""
        answer = self.client().get(path, params=parameters)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def client(self) -> httpx.Client:
        """A client with the key."""
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, trust_env=False, timeout=30.0
        )

    def declare(self, server: PostgresServer, database: str, username: str, password: str) -> str:
        """Play playbooks/demo.yml; returns the id of the database."""
        path = collections_path(self._folder)
        variables = {
            "demo_host": server.host,
            "demo_port": server.port,
            "demo_database": database,
            "demo_username": username,
        }
        done = subprocess.run(
            [
                PROGRAMS / "ansible-playbook",
                path / "ansible_collections" / "dbaudit" / "dbaudit" / "playbooks" / "demo.yml",
                "--extra-vars",
                json.dumps(variables),
            ],
            stdin=subprocess.DEVNULL,
            env={
                **self._environment(),
                "ANSIBLE_COLLECTIONS_PATH": str(path),
                "ANSIBLE_HOME": str(self._folder / "ansible"),
                "ANSIBLE_LOCALHOST_WARNING": "false",
                "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
                "DBAUDIT_API_URL": self.url,
                "DBAUDIT_API_KEY": self.key,
                "DBAUDIT_DEMO_PASSWORD": password,
            },
            check=False,
        )
        if done.returncode != 0:
            raise ServiceFailedError(
                f"The playbook failed; the service's log is {self._folder / 'service.log'}."
            )
        (found,) = self.get("/v1/databases", host=server.host)["data"]
        return str(found["id"])

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("DBAUDIT", "ANSIBLE", "PG"))}
        return {**inherited, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}

    def _wait_until_ready(self) -> None:
        address = self._home / "api.url"
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.is_running():
            if address.exists():
                self.url = address.read_text().strip()
                try:
                    if httpx.get(f"{self.url}/health/ready", trust_env=False).status_code == httpx.codes.OK:
                        return
                except httpx.TransportError:
                    pass
            time.sleep(0.05)
        raise ServiceFailedError(f"The service did not start; its log is {self._folder / 'service.log'}.")

    def _new_key(self) -> str:
        done = subprocess.run(
            [
                *(PROGRAMS / "dbaudit", "keys", "create", "--home", self._home, "--name", "demo"),
                *("--scope", "read:databases", "--scope", "write:databases", "--scope", "read:events"),
            ],
            capture_output=True,
            text=True,
            env=self._environment(),
            check=True,
        )
        file = self._folder / "api.key"
        file.touch(mode=0o600)
        file.write_text(done.stdout)
        return done.stdout.strip()
