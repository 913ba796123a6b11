"""Whole runs of ansible-playbook, with everything that Ansible prints."""

import re
from pathlib import Path

import pytest
import yaml

from tests.collection.conftest import Installation, Service
from tests.collection.running import run_playbook
from tests.collection.test_database import PASSWORD, SECOND_PASSWORD, SHOP
from tests.run_sanity import interpreters, promised_versions
from tests.servers.certificates import Credential
from tests.servers.postgresql import HOST, PostgresServer

LIFE = """
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/dbaudit.dbaudit.dbaudit:
      api_url: "{{ service_url }}"
      api_key: "{{ service_key }}"
  tasks:
    - name: check
      check_mode: true
      register: planned
      vars: {wanted: "{{ first }}"}
      dbaudit.dbaudit.database: &shop
        name: shop
        type: postgresql
        host: pg1.example.com
        port: "{{ wanted.port | default(omit) }}"
        database: shop
        username: dbaudit
        password: "{{ wanted.password }}"
        ssl_cert: "{{ wanted.ssl_cert | default(omit) }}"
        ssl_key: "{{ wanted.ssl_key | default(omit) }}"
    - {name: apply, register: applied, vars: {wanted: "{{ first }}"}, dbaudit.dbaudit.database: *shop}
    - {name: again, register: again, vars: {wanted: "{{ first }}"}, dbaudit.dbaudit.database: *shop}
    - name: check another password
      check_mode: true
      register: planned_password
      vars: {wanted: "{{ second }}"}
      dbaudit.dbaudit.database: *shop
    - {name: apply it, register: password, vars: {wanted: "{{ second }}"}, dbaudit.dbaudit.database: *shop}
    - {name: again, register: password_again, vars: {wanted: "{{ second }}"}, dbaudit.dbaudit.database: *shop}
    - name: fail
      register: failed
      ignore_errors: true
      vars: {wanted: "{{ second | combine({'port': 70000}) }}"}
      dbaudit.dbaudit.database: *shop
    - {name: read, register: found, dbaudit.dbaudit.database_info: {name: shop}}
    - {name: remove, register: removed, dbaudit.dbaudit.database: {name: shop, state: absent}}
    - {name: again, register: removed_again, dbaudit.dbaudit.database: {name: shop, state: absent}}
    - ansible.builtin.assert:
        that:
          - planned is changed
          - applied is changed
          - again is not changed
          - planned_password is changed
          - password is changed
          - password_again is not changed
          - failed is failed
          - failed.details[0].pointer == '/port'
          - found.databases | length == 1
          - found.databases[0].port == 5432
          - removed is changed
          - removed_again is not changed
"""


def test_the_life_of_a_database_at_the_highest_verbosity(
    service: Service, collections_path: Path, certificate: Credential, tmp_path: Path
) -> None:
    playbook = tmp_path / "life.yml"
    playbook.write_text(LIFE)
    variables = tmp_path / "variables.yml"
    mutual = {"ssl_cert": certificate.certificate, "ssl_key": certificate.key}
    given = {
        "service_url": service.url,
        "service_key": service.key,
        "first": {"password": PASSWORD},
        "second": {"password": SECOND_PASSWORD, **mutual},
    }
    variables.write_text(yaml.safe_dump(given))

    run = run_playbook(playbook, collections_path, "-vvvv", "--diff", "-e", f"@{variables}")

    assert run.returncode == 0, run.stdout
    assert "[WARNING]" not in run.stdout
    assert "[DEPRECATION" not in run.stdout
    assert re.search(r'^\+ +"password_changed": true', run.stdout, re.MULTILINE)
    for secret in (PASSWORD, SECOND_PASSWORD, service.key, certificate.key.splitlines()[1]):
        assert secret not in run.stdout


def test_modules_run_on_the_oldest_python(service: Service, collections_path: Path, tmp_path: Path) -> None:
    python = oldest_python()
    variables = {
        "service_url": service.url,
        "service_key": service.key,
        "first": {"password": PASSWORD},
        "second": {"password": SECOND_PASSWORD},
        "ansible_python_interpreter": str(python),
    }
    playbook, file = tmp_path / "life.yml", tmp_path / "variables.yml"
    playbook.write_text(LIFE)
    file.write_text(yaml.safe_dump(variables))
    run = run_playbook(playbook, collections_path, "-vvv", "-e", f"@{file}")
    assert run.returncode == 0, run.stdout
    assert f"{python} " in run.stdout


def oldest_python() -> Path:
    """The oldest Python that tests/config.yml promises, as run_sanity finds it."""
    wanted = min(promised_versions(), key=lambda version: int(version.split(".")[1]))
    found = dict(interpreters()).get(wanted)
    if found is None:
        pytest.skip(f"there is no Python {wanted} on this machine")
    return found


def test_the_role_declares_a_list(service: Service, collections_path: Path, tmp_path: Path) -> None:
    other = {**SHOP, "name": "warehouse", "host": "pg2.example.com", "tags": ["production"]}
    gone = {"name": "old", "state": "absent"}
    variables = tmp_path / "databases.yml"

    def run(*options: str, databases: list[dict[str, object]]) -> str:
        variables.write_text(yaml.safe_dump({"dbaudit_databases": databases}))
        done = run_playbook(
            "dbaudit.dbaudit.databases",
            collections_path,
            "-vvv",
            "--diff",
            "-e",
            f"@{variables}",
            *options,
            environment={"DBAUDIT_API_URL": service.url, "DBAUDIT_API_KEY": service.key},
        )
        assert "[WARNING]" not in done.stdout
        for secret in (PASSWORD, SECOND_PASSWORD, service.key):
            assert secret not in done.stdout
        return done.stdout

    declared = [dict(SHOP), other, gone]
    assert "changed=1 " in run("--check", databases=declared)
    assert service.state.databases.all() == []
    assert "changed=1 " in run(databases=declared)
    assert {database.name for database in service.state.databases.all()} == {"shop", "warehouse"}
    assert "changed=0 " in run(databases=declared)
    assert "changed=1 " in run("--check", databases=[{**SHOP, "password": SECOND_PASSWORD}])

    refused = run(databases=[{**SHOP, "ssl_mode": "sometimes"}])
    assert "failed=1 " in refused
    assert "verify-full" in refused


def test_the_demonstration_declares_its_database(
    installation: Installation, postgres: PostgresServer, collections_path: Path
) -> None:
    postgres.create_database("demonstration")
    postgres.create_collector_role("demonstration", PASSWORD, "demonstration")
    variables = {
        "demo_name": "demonstration",
        "demo_host": HOST,
        "demo_port": postgres.port,
        "demo_database": "demonstration",
        "demo_username": "demonstration",
    }
    options = [option for item in variables.items() for option in ("-e", "{}={}".format(*item))]

    run = run_playbook(
        "dbaudit.dbaudit.demo",
        collections_path,
        "-vvv",
        *options,
        environment={
            "DBAUDIT_API_URL": installation.url,
            "DBAUDIT_API_KEY": installation.key,
            "DBAUDIT_DEMO_PASSWORD": PASSWORD,
        },
    )

    assert run.returncode == 0, run.stdout
    assert "connection connected" in run.stdout
    assert PASSWORD not in run.stdout
    assert installation.key not in run.stdout


def test_the_demonstration_names_the_variable_that_is_missing(
    service: Service, collections_path: Path
) -> None:
    run = run_playbook(
        "dbaudit.dbaudit.demo",
        collections_path,
        environment={"DBAUDIT_API_URL": service.url, "DBAUDIT_API_KEY": service.key},
    )
    assert run.returncode != 0
    assert "DBAUDIT_DEMO_PASSWORD" in run.stdout


@pytest.mark.parametrize("name", ["databases", "db_conns", "demo", "site", "verify"])
def test_playbooks_are_sound(name: str, collections_path: Path) -> None:
    run = run_playbook(f"dbaudit.dbaudit.{name}", collections_path, "--syntax-check")
    assert run.returncode == 0, run.stdout
