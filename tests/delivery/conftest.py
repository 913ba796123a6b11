"""A state with a sender on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from dbaudit.state import State, open_state
from dbaudit.state.encryption import keyring_from_file

from tests.delivery.sending import Listener, Sending

LEASE_SECONDS = 600.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    keyring = keyring_from_file(tmp_path / "keys", create=True)
    state = open_state(f"sqlite:///{tmp_path}/state.db", keyring, lease_seconds=LEASE_SECONDS)
    yield state
    state.close()


@pytest.fixture
def sending(state: State) -> Iterator[Sending]:
    """A node of its own with its sender, not started yet."""
    with Sending(state) as sending:
        yield sending


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listener that reads everything at once."""
    with Listener() as listener:
        yield listener
