"""`dbaudit keys`: made, shown once, listed without themselves, revoked."""

import json
import os
import pwd
from pathlib import Path

import pytest
from dbaudit.cli.keys import SCOPES
from dbaudit.state.api_keys import Scope

from tests.cli.conftest import Installation
from tests.cli.running import dbaudit


def test_create_prints_the_key_alone_on_standard_output(tmp_path: Path) -> None:
    done = dbaudit("keys", "create", "--home", tmp_path / "home", "--name", "ci", "--scope", "read:events")
    assert done.returncode == 0
    key = done.stdout.removesuffix("\n")
    assert key.startswith("dbaudit_live_")
    assert len(key) == len("dbaudit_live_") + 32
    assert key.isprintable()
    assert " " not in key
    assert key not in done.stderr


def test_every_scope_of_the_state_can_be_given() -> None:
    assert [scope.value for scope in Scope] == list(SCOPES)


def test_list_shows_names_and_scopes_and_never_a_key(installation: Installation) -> None:
    home = installation.home
    made = dbaudit(
        "keys", "create", "--home", home, "--name", "a b", "--scope", "read:events", "--scope", "admin"
    )
    for form in ("json", "table"):
        listed = dbaudit("keys", "list", "--home", home, "--output", form)
        assert listed.returncode == 0
        assert made.stdout.strip() not in listed.stdout
        assert installation.key not in listed.stdout
        assert "a b" in listed.stdout
    keys = json.loads(dbaudit("keys", "list", "--home", home, "--output", "json").stdout)
    (key,) = [key for key in keys if key["name"] == "a b"]
    assert key["scopes"] == ["read:events", "admin"]
    assert key["revoked_at"] is None


def test_a_revoked_key_opens_nothing(installation: Installation) -> None:
    home = installation.home
    made = dbaudit("keys", "create", "--home", home, "--name", "leaver", "--scope", "admin")
    keys = json.loads(dbaudit("keys", "list", "--home", home, "--output", "json").stdout)
    (key_id,) = [key["id"] for key in keys if key["name"] == "leaver"]
    assert dbaudit("keys", "revoke", key_id, "--home", home).returncode == 0
    refused = dbaudit(
        "databases", "list", DBAUDIT_API_URL=installation.url, DBAUDIT_API_KEY=made.stdout.strip()
    )
    assert refused.returncode == 5
    assert made.stdout.strip() not in refused.stderr


def test_who_made_and_revoked_a_key_on_the_host_is_an_event(installation: Installation) -> None:
    home = installation.home
    made = dbaudit("keys", "create", "--home", home, "--name", "on the host", "--scope", "read:events")
    keys = json.loads(dbaudit("keys", "list", "--home", home, "--output", "json").stdout)
    (key_id,) = [key["id"] for key in keys if key["name"] == "on the host"]
    assert dbaudit("keys", "revoke", key_id, "--home", home).returncode == 0
    found = dbaudit(
        *("events", "--type", "dbaudit.api", "--limit", "1000", "--output", "json"),
        DBAUDIT_API_URL=installation.url,
        DBAUDIT_API_KEY=installation.key,
    )
    did = [one for one in json.loads(found.stdout) if one["objects"] == [key_id, "on the host"]]
    assert [one["operation"] for one in did] == ["dbaudit keys create", "dbaudit keys revoke"]
    for one in did:
        assert one["user"] == pwd.getpwuid(os.getuid()).pw_name
        assert (one["detail"]["by"], one["detail"]["key_id"]) == ("command line", None)
    assert made.stdout.strip() not in found.stdout


def test_revoking_an_unknown_key_names_it(installation: Installation) -> None:
    done = dbaudit("keys", "revoke", "key_none", "--home", installation.home)
    assert done.returncode == 6
    assert "key_none" in done.stderr


def test_a_key_is_made_with_its_bounds_and_listed_with_them(installation: Installation) -> None:
    home = installation.home
    bounds = ("--network", "192.0.2.0/24", "--network", "2001:DB8::1", "--expires-at", "2126-01-31T12:00:00Z")
    tags = ("--tag", "shop", "--tag", "prod")
    made = dbaudit(
        "keys", "create", "--home", home, "--name", "bound", "--scope", "read:events", *bounds, *tags
    )
    listed = dbaudit("keys", "list", "--home", home, "--output", "json")
    (key,) = [key for key in json.loads(listed.stdout) if key["name"] == "bound"]
    assert key["networks"] == ["192.0.2.0/24", "2001:db8::1/128"]
    assert key["expires_at"] == "2126-01-31T12:00:00Z"
    assert key["tags"] == ["shop", "prod"]
    assert "192.0.2.0/24" in dbaudit("keys", "list", "--home", home).stdout
    refused = dbaudit(
        "databases", "list", DBAUDIT_API_URL=installation.url, DBAUDIT_API_KEY=made.stdout.strip()
    )
    assert refused.returncode == 5
    assert "address" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--name", "x", "--scope", "admin", "--network", "10.0.0.1/8"], "10.0.0.0/8"),
        (["--name", "x", "--scope", "admin", "--tag", "shop"], "--tag"),
        (["--name", "x", "--scope", "read:events", "--tag", "a,b"], "without comma"),
        (["--name", "x", "--scope", "admin", "--expires-at", "2020-01-01T00:00:00Z"], "later than now"),
        (["--scope", "admin"], "--name"),
        (["--name", "x"], "--scope"),
        (["--name", "x", "--scope", "write:everything"], "write:everything"),
        (["--name", " ", "--scope", "admin"], "--name"),
        (["--name", "two\nlines", "--scope", "admin"], "--name"),
        (["--name", "x" * 201, "--scope", "admin"], "--name"),
    ],
)
def test_a_wrong_option_is_named_and_makes_no_state(tmp_path: Path, arguments: list[str], named: str) -> None:
    done = dbaudit("keys", "create", "--home", tmp_path / "home", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert not (tmp_path / "home").exists()


def test_listing_a_home_without_a_state_makes_none(tmp_path: Path) -> None:
    done = dbaudit("keys", "list", "--home", tmp_path / "home")
    assert done.returncode == 3
    assert str(tmp_path / "home") in done.stderr
    assert not (tmp_path / "home").exists()
