"""playbooks/db_conns.yml as a user runs it, on and off, each twice, at the highest verbosity."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.collection.redis_enterprise import PASSWORD, USERNAME, Bdb, Manner, RedisEnterprise
from tests.collection.running import run_playbook
from tests.collection.test_db_conns import Auditing, auditing

__all__ = ["auditing"]

PLAYBOOK = "dbaudit.dbaudit.db_conns"
LISTENER = {"db_conns_address": "listener.example.com", "db_conns_port": 12345, "db_conns_policy": True}
Play = Callable[..., str]


@pytest.fixture
def play(collections_path: Path, tmp_path: Path) -> Play:
    """The output of a run with these variables in a file, as a user has them."""

    def run(variables: dict[str, Any], environment: dict[str, str], *options: str) -> str:
        file = tmp_path / "db_conns.yml"
        file.write_text(yaml.safe_dump({**LISTENER, **variables}))
        done = run_playbook(
            PLAYBOOK, collections_path, "-vvvv", "--diff", "-e", f"@{file}", *options, environment=environment
        )
        assert done.returncode == 0, done.stdout
        assert "[WARNING]" not in done.stdout
        assert "[DEPRECATION" not in done.stdout
        return done.stdout

    return run


def test_a_group_of_databases_goes_on_and_off(auditing: Auditing, play: Play) -> None:
    for name in ("shop", "warehouse", "unconcerned"):
        auditing.declared(name)
    group = {"db_conns_databases": ["shop", "warehouse"]}
    to_api = {"DBAUDIT_API_URL": auditing.service.url, "DBAUDIT_API_KEY": auditing.key}
    off = ("-e", "db_conns_state=absent")
    on = {"shop": True, "warehouse": True, "unconcerned": False}

    outputs = []
    for options, changed, settings_and_policy, switches in (
        (("--check",), 1, False, dict.fromkeys(on, False)),
        ((), 1, True, on),
        ((), 0, True, on),
        ((*off, "--check"), 1, True, on),
        (off, 1, False, dict.fromkeys(on, False)),
        (off, 0, False, dict.fromkeys(on, False)),
    ):
        output = play(group, to_api, *options)
        assert f"changed={changed} " in output
        assert auditing.stored() == (settings_and_policy, settings_and_policy, switches)
        outputs.append(output)
    assert '+        "audit_address": "listener.example.com"' in outputs[1]
    assert not [output for output in outputs if auditing.key in output]


def test_a_group_of_databases_of_a_cluster_goes_on_and_off(play: Play, tmp_path: Path) -> None:
    with RedisEnterprise(Manner(unset=404), tmp_path) as cluster:
        cluster.bdbs = {1: Bdb(1, "orders"), 2: Bdb(2, "sessions"), 3: Bdb(3, "unconcerned")}
        variables = {"db_conns_databases": ["orders", 2], "db_conns_ca_path": str(cluster.certificate)}
        to_api = {
            "DBAUDIT_API_URL": cluster.url,
            "DBAUDIT_API_USERNAME": USERNAME,
            "DBAUDIT_API_PASSWORD": PASSWORD,
        }
        off = ("-e", "db_conns_state=absent")
        outputs = []
        for options, changed, on in (((), 1, True), ((), 0, True), (off, 1, False), (off, 0, False)):
            output = play(variables, to_api, *options)
            assert f"changed={changed} " in output
            assert [bdb.on for bdb in cluster.bdbs.values()] == [on, on, False]
            assert (bool(cluster.config), cluster.policy) == (on, on)
            outputs.append(output)
    sent = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    assert not [output for output in outputs if PASSWORD in output or sent in output]
