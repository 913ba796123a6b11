"""How long Ansible takes to declare a thousand databases: by one task, and by the loops that one would write
without it.

The service is `dbaudit up` as a user starts it, so its agent tries all connections meanwhile; nothing listens
at their port, which it finds out at once. Each way begins with an empty service, and is a run of
ansible-playbook from its start to its end.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import figure, say
from tests.demo.place import collections_path
from tests.demo.service import Service

_PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
"""
_TASKS = {
    "databases": """
    - dbaudit.dbaudit.databases:
        databases: "{{ databases }}"
""",
    "database": """
    - dbaudit.dbaudit.database:
        name: "{{ item.name }}"
        type: "{{ item.type }}"
        host: "{{ item.host }}"
        port: "{{ item.port }}"
        database: "{{ item.database }}"
        username: "{{ item.username }}"
        password: "{{ item.password }}"
      loop: "{{ databases }}"
      loop_control: {label: "{{ item.name }}"}
      no_log: true
""",
    "uri": """
    - ansible.builtin.uri:
        url: "{{ lookup('ansible.builtin.env', 'DBAUDIT_API_URL') }}/v1/databases"
        method: POST
        headers: {Authorization: "Bearer {{ lookup('ansible.builtin.env', 'DBAUDIT_API_KEY') }}"}
        body_format: json
        body: "{{ item }}"
        status_code: 201
      loop: "{{ databases }}"
      loop_control: {label: "{{ item.name }}"}
      no_log: true
""",
}


def main(databases: int) -> None:
    """Measures and prints."""
    seconds = {}
    for way in ("databases", "uri", "database"):
        with tempfile.TemporaryDirectory() as folder, Service(Path(folder)) as service:
            place = _Place(Path(folder), service, databases)
            seconds[way] = place.play(way)
            say(f"{way}: {seconds[way]:.2f} s")
            if way == "databases":
                figure("declare_databases_seconds", seconds[way], "s", 2)
                figure("declare_databases_again_seconds", place.play(way), "s", 2)
                figure("declare_module_peak_rss_mb", place.module_rss_mb(databases), "MB")
                figure("declare_module_peak_rss_of_10_mb", place.module_rss_mb(10), "MB")
            else:
                figure(f"peer_loop_over_{way}_seconds", seconds[way], "s", 1)
    for way in ("uri", "database"):
        figure(f"declare_times_faster_than_{way}", seconds[way] / seconds["databases"], "times", 1)


class _Place:
    """A playbook, its variables and where it finds everything."""

    def __init__(self, folder: Path, service: Service, databases: int) -> None:
        for way, task in _TASKS.items():
            (folder / f"{way}.yml").write_text(_PLAY + task)
        self._folder = folder
        self._variables = folder / "variables.json"
        self._declared = [_declaration(number) for number in range(databases)]
        self._variables.write_text(json.dumps({"databases": self._declared}))
        self._collections = collections_path(folder)
        self._environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self._collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "DBAUDIT_API_URL": service.url,
            "DBAUDIT_API_KEY": service.key,
        }

    def play(self, way: str) -> float:
        """Seconds of a run."""
        begin = time.perf_counter()
        subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                self._folder / f"{way}.yml",
                "-e",
                f"@{self._variables}",
            ],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        return time.perf_counter() - begin

    def module_rss_mb(self, databases: int) -> float:
        """The largest resident size of the module itself with so many of the databases."""
        module = self._collections / "ansible_collections/dbaudit/dbaudit/plugins/modules/databases.py"
        arguments: dict[str, Any] = {
            "databases": self._declared[:databases],
            "_ansible_check_mode": True,
        }
        program = (
            "import resource, subprocess, sys;"
            "done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL, check=True);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
        )
        given = self._variables.with_name("arguments.json")
        given.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        found = subprocess.run(
            [sys.executable, "-c", program, str(module), str(given)],
            env={**self._environment, "PYTHONPATH": str(self._collections)},
            stdout=subprocess.PIPE,
            check=True,
        )
        return int(found.stdout) * 1024 / 1e6


def _declaration(number: int) -> dict[str, Any]:
    return {
        "name": f"database {number}",
        "type": "postgresql",
        "host": "127.0.0.1",
        "port": 1,
        "database": f"database_{number}",
        "username": "dbaudit",
        "password": f"only for this benchmark {number}",
        "ssl_mode": "disable",
        "tags": ["benchmark", f"team-{number % 10}"],
        "audit_options": {"retention_days": 30},
    }
