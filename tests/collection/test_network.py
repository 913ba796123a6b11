"""What the modules do when the way to the API fails: the real API behind a network that breaks on demand."""

import json
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.collection.conftest import Service
from tests.collection.faults import Answer, CutAfter, CutBefore, FaultyNetwork, Silence, free_port
from tests.collection.running import run_module
from tests.collection.test_database import SHOP
from tests.servers.certificates import CertificateAuthority

LIST = "GET /v1/databases"
CREATE = "POST /v1/databases"
BUSY = Answer(503)


@pytest.fixture
def network(service: Service) -> Iterator[FaultyNetwork]:
    with FaultyNetwork(service.url) as network:
        yield network


@pytest.fixture
def pauses(collections_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between the tries, in seconds, which are asked for and not made."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def declare(service: Service, network: FaultyNetwork, **changes: Any) -> dict[str, Any]:
    return run_module("database", api_url=network.url, api_key=service.key, **{**SHOP, **changes})


def stored(service: Service) -> list[dict[str, Any]]:
    found = run_module("database_info", api_url=service.url, api_key=service.key)["databases"]
    assert isinstance(found, list)
    return found


def test_an_api_that_is_down_is_one_clear_error(service: Service, pauses: list[float]) -> None:
    failed = run_module("database", api_url=f"http://127.0.0.1:{free_port()}", api_key=service.key, **SHOP)
    assert failed["failed"]
    assert "cannot be reached" in failed["msg"]
    assert "Connection refused" in failed["msg"]
    assert "\n" not in failed["msg"]
    assert pauses == [0.5, 1.0, 2.0]


def test_the_number_of_retries_is_the_users(service: Service, pauses: list[float]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    run_module("database", api_url=url, api_key=service.key, retries=0, **SHOP)
    assert pauses == []
    run_module("database", api_url=url, api_key=service.key, retries=1, **SHOP)
    assert pauses == [0.5]


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), BUSY, Answer(502), Answer(504), Answer(429)])
def test_reading_goes_on_after_a_fault(
    service: Service, network: FaultyNetwork, pauses: list[float], fault: Any
) -> None:
    network.faults.extend([fault, fault])
    assert declare(service, network)["changed"]
    assert network.requests == [LIST, LIST, LIST, CREATE, CREATE]


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), Answer(502), Answer(504)])
def test_a_creation_that_may_have_happened_is_not_repeated(
    service: Service, network: FaultyNetwork, pauses: list[float], fault: Any
) -> None:
    network.faults.extend([None, None, fault])
    failed = declare(service, network)
    assert failed["failed"]
    assert network.requests == [LIST, CREATE, CREATE]
    assert pauses == []
    if not isinstance(fault, Answer):
        assert "not known" in failed["msg"]

    again = declare(service, network)
    assert again["changed"] is not isinstance(fault, CutAfter)
    assert len(stored(service)) == 1


def test_a_creation_that_was_refused_for_the_moment_is_repeated(
    service: Service, network: FaultyNetwork, pauses: list[float]
) -> None:
    network.faults.extend([None, None, BUSY, Answer(429, {"Retry-After": "7"})])
    assert declare(service, network)["changed"]
    assert pauses == [0.5, 7.0]
    assert len(stored(service)) == 1


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), BUSY, Answer(502)])
def test_a_change_is_repeated_until_it_is_known(
    service: Service, network: FaultyNetwork, pauses: list[float], fault: Any
) -> None:
    declare(service, network)
    network.faults.extend([None, None, fault])
    changed = declare(service, network, port=5433)
    assert changed["changed"]
    assert changed["database"]["port"] == 5433


@pytest.mark.parametrize("fault", [CutBefore(), CutAfter(), BUSY, Answer(502)])
def test_a_removal_is_repeated_until_it_is_known(
    service: Service, network: FaultyNetwork, pauses: list[float], fault: Any
) -> None:
    declare(service, network)
    network.faults.extend([None, None, fault])
    assert declare(service, network, state="absent")["changed"]
    assert stored(service) == []


def test_a_change_whose_answer_never_comes_may_have_happened(
    service: Service, network: FaultyNetwork, pauses: list[float]
) -> None:
    declare(service, network)
    network.faults.extend([None, None, *[CutAfter()] * 4])
    failed = declare(service, network, port=5433)
    assert "not known" in failed["msg"]
    assert not declare(service, network, port=5433)["changed"]


def test_the_pause_that_the_api_asks_for_is_made(
    service: Service, network: FaultyNetwork, pauses: list[float]
) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    network.faults.extend(
        [
            Answer(429, {"Retry-After": "3"}),
            Answer(503, {"Retry-After": date}),
            Answer(503, {"Retry-After": "x"}),
        ]
    )
    assert declare(service, network)["changed"]
    assert pauses[0] == 3.0
    assert 20 < pauses[1] <= 30
    assert pauses[2] == 2.0


def test_nobody_waits_for_an_hour(service: Service, network: FaultyNetwork, pauses: list[float]) -> None:
    network.faults.append(Answer(429, {"Retry-After": "3600"}))
    failed = declare(service, network)
    assert failed["status"] == 429
    assert pauses == []


def test_an_api_that_says_nothing_is_given_up(service: Service, network: FaultyNetwork) -> None:
    network.faults.append(Silence())
    failed = run_module("database_info", api_url=network.url, api_key=service.key, timeout=1, retries=0)
    assert "within 1 second" in failed["msg"]


def test_a_connection_test_is_given_its_own_time(
    service: Service, network: FaultyNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = import_module("ansible_collections.dbaudit.dbaudit.plugins.module_utils._client")
    monkeypatch.setattr(client, "TEST_SECONDS", 2)
    network.faults.extend([None, None, Silence()])
    failed = declare(service, network, verify=True, timeout=1)
    assert "within 2 second" in failed["msg"]
    assert "not known" in failed["msg"]


def test_a_time_that_allows_nothing_is_refused(service: Service) -> None:
    failed = run_module("database_info", api_url=service.url, api_key=service.key, timeout=0)
    assert "timeout" in failed["msg"]


def test_a_page_that_is_not_the_apis_is_named(service: Service, network: FaultyNetwork) -> None:
    network.faults.append(Answer(200))
    assert "no dbaudit API at" in declare(service, network)["msg"]
    network.faults.append(Answer(404))
    failed = declare(service, network)
    assert failed["status"] == 404
    assert failed["error_code"] is None
    network.faults.append(Answer(200, {}, b'{"data": 1}'))
    assert "no dbaudit API at" in declare(service, network)["msg"]


def test_a_redirection_does_not_get_the_key(service: Service, network: FaultyNetwork) -> None:
    with FaultyNetwork(service.url) as elsewhere:
        network.faults.append(Answer(302, {"Location": f"{elsewhere.url}/v1/databases"}))
        failed = declare(service, network)
        assert elsewhere.requests == []
    assert elsewhere.url in failed["msg"]
    assert "api_url" in failed["msg"]


def test_a_netrc_file_does_not_replace_the_key(
    service: Service, network: FaultyNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password planted-password-5f1c\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert declare(service, network)["changed"]


@pytest.mark.parametrize(
    "url",
    [
        "audit.example.com",
        "ftp://audit.example.com",
        "http://u:planted@h",
        "http://h:x",
        "http://",
        "http://h?a",
        "http://h/ä",
        "http://h/a b",
    ],
)
def test_an_address_that_cannot_be_one_is_refused(url: str, collections_path: Path) -> None:
    failed = run_module("database_info", api_url=url, api_key="key")
    assert "api_url must be" in failed["msg"]
    assert "planted" not in failed["msg"]


def test_a_key_with_a_line_break_is_refused(service: Service) -> None:
    failed = run_module("database_info", api_url=service.url, api_key=f"{service.key}\n")
    assert "api_key" in failed["msg"]
    assert service.key not in json.dumps(failed)


def test_the_certificate_of_the_api_is_verified(
    service: Service, authority: CertificateAuthority, tmp_path: Path
) -> None:
    of_api = authority.server("127.0.0.1")
    chain, private, trusted = tmp_path / "api.pem", tmp_path / "api.key", tmp_path / "ca.pem"
    chain.write_text(of_api.certificate)
    private.write_text(of_api.key)
    trusted.write_text(authority.certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, private)
    with FaultyNetwork(service.url, context) as network:
        to_it = {"api_url": network.url, "api_key": service.key}

        refused = run_module("database_info", **to_it)
        assert "cannot be trusted" in refused["msg"]
        assert "ca_path" in refused["msg"]
        assert network.requests == []

        assert run_module("database_info", **to_it, ca_path=str(trusted))["databases"] == []
        assert run_module("database_info", **to_it, validate_certs=False)["databases"] == []

        missing = run_module("database_info", **to_it, ca_path=str(tmp_path / "none.pem"))
        assert "ca_path" in missing["msg"]
        no_pem = run_module("database_info", **to_it, ca_path=str(private))
        assert "ca_path" in no_pem["msg"]
