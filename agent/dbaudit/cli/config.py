"""`dbaudit config`: the settings, where each comes from, and what is wrong with them."""

from __future__ import annotations

import click

from dbaudit import configuration as settings_of
from dbaudit.cli.command import Command, configuration
from dbaudit.cli.output import output_option, print_json, print_table
from dbaudit.cli.state import keyring
from dbaudit.cli.tls import check_tls


@click.group()
def config() -> None:
    """The settings of this installation."""


@config.command(cls=Command)
@output_option
def show(output: str) -> None:
    """Show every setting, its value and where it comes from. Secrets are hidden.

    \b
    Examples:
      dbaudit config show
      DBAUDIT_PORT=9000 dbaudit config show --output json
    """
    found = configuration()
    rows = {name: {"value": found.shown(name), "source": found.sources[name]} for name in settings_of.NAMES}
    if output == "json":
        print_json(rows)
    else:
        print_table(
            ("setting", "value", "source"),
            [(name, _word(row["value"]), row["source"]) for name, row in rows.items()],
        )


@config.command(cls=Command)
def check() -> None:
    """Check the settings, the encryption keys and the certificate; change nothing."""
    found = configuration()
    for name in found.unknown_variables:
        click.echo(f"Warning: the variable {name} is no setting of dbaudit.", err=True)
    settings = found.settings
    check_tls(settings)
    if settings.encryption_keys or settings.encryption_key_command or settings.encryption_key_file.exists():
        keyring(settings)
    click.echo("The configuration is valid.")


def _word(value: object) -> object:
    if isinstance(value, list):
        return ",".join(value) or None
    return str(value).lower() if isinstance(value, bool) else value
