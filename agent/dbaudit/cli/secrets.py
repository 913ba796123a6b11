"""`dbaudit secrets`: the encryption of what is stored."""

from __future__ import annotations

import click

from dbaudit.cli.acting import acting
from dbaudit.cli.command import Command, configuration, need_server
from dbaudit.cli.output import output_option, print_json
from dbaudit.cli.state import make_home, opened_state
from dbaudit.core.errors import ConfigurationError, ErrorCode


@click.group()
def secrets() -> None:
    """The encryption of the secrets in the state."""


@secrets.command(cls=Command)
def init() -> None:
    """Make the key file of a state that several hosts share.

    On PostgreSQL every host needs the same key file: make it once, and copy it to the others. An embedded
    state needs no such step.
    """
    settings = configuration().settings
    need_server()
    from dbaudit.state.encryption import keyring_from_file

    path = settings.encryption_key_file
    if path.exists():
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"There is a key file already: {path}.",
            remedy="To change the key, run dbaudit secrets rotate.",
        )
    make_home(path.parent)
    keyring_from_file(path, create=True)
    click.echo(f"Made {path}. Copy it to every host of this state, readable by its owner alone.", err=True)


@secrets.command(cls=Command)
@output_option
def rotate(output: str) -> None:
    """Re-encrypt every secret with a new key, while API and agents go on.

    With a key file the new key is made here. With a variable or a command, first put the new key before the
    one in use. A run that was interrupted is completed by the next one.
    """
    with opened_state(configuration().settings, create=False) as state:
        done = total = 0
        for done, total in state.secrets.rotate(acting()):
            click.echo(f"{done} of {total} secrets are encrypted with the new key", err=True)
    if output == "json":
        print_json({"rotated": done, "total": total})
