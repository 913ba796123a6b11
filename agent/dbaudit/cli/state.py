"""Opens the state as the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from dbaudit.cli.command import need_server
from dbaudit.configuration import Settings
from dbaudit.core.errors import ConfigurationError, ErrorCode

if TYPE_CHECKING:
    from dbaudit.state import State
    from dbaudit.state.encryption import Keyring

_SQLITE = "sqlite:///"


@contextmanager
def opened_state(settings: Settings, *, create: bool) -> Iterator[State]:
    """The state, brought to the present schema; closed at the end.

    With ``create`` an SQLite state that is not there is made, with its folder (0700) and its key file (0600).
    An existing state without its keys is refused: new keys could not read its secrets.
    """
    need_server()
    from dbaudit.state import open_state

    if create:
        make_home(settings.home)
    elif _is_new(settings.state_url):
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"There is no state at {settings.state_url}.",
            remedy="Give the --home of a running dbaudit, or start one with dbaudit up.",
        )
    state = open_state(settings.state_url, keyring(settings), lease_seconds=settings.lease_seconds)
    try:
        yield state
    finally:
        state.close()


def make_home(home: Path) -> None:
    """The folder of the installation, private where it has to be made."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The folder {home} cannot be made: {error.strerror}.",
            remedy="Give another --home, or make it for this user.",
        ) from None


def keyring(settings: Settings) -> Keyring:
    """The encryption keys, from the one source that the settings name."""
    from dbaudit.state.encryption import keyring_from_command, keyring_from_file, keyring_from_text

    if settings.encryption_keys is not None:
        return keyring_from_text(settings.encryption_keys.reveal(), "the setting encryption_keys")
    if settings.encryption_key_command is not None:
        return keyring_from_command(settings.encryption_key_command)
    file = settings.encryption_key_file
    if not settings.state_url.startswith(_SQLITE) and not file.exists():
        raise ConfigurationError(
            ErrorCode.ENCRYPTION_KEY_MISSING,
            f"The key file {file} is not there.",
            remedy="Copy it from another host of this state; for a new state make it: dbaudit secrets init.",
        )
    return keyring_from_file(file, create=_is_new(settings.state_url))


def _is_new(state_url: str) -> bool:
    # On PostgreSQL several hosts share the state, and have to share the keys: none of them makes its own.
    return state_url.startswith(_SQLITE) and not Path(unquote(state_url.removeprefix(_SQLITE))).exists()
