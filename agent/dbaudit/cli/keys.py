"""`dbaudit keys`: API keys, directly on the state."""

from __future__ import annotations

import click

from dbaudit.cli.command import Command, configuration
from dbaudit.cli.output import output_option, print_json, print_table
from dbaudit.cli.state import opened_state
from dbaudit.core.clock import format_us

# As in dbaudit.state.api_keys.Scope, which only a server installation can import; a test compares them.
SCOPES = ("read:databases", "write:databases", "read:events", "view_cluster_info", "update_cluster", "admin")
_NAME_CHARACTERS = 200


@click.group()
def keys() -> None:
    """API keys. These commands work on the state, not through the API."""


def _checked_name(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > _NAME_CHARACTERS:
        raise click.BadParameter(f"must be one line of 1 to {_NAME_CHARACTERS} characters")
    return value


@keys.command(cls=Command)
@click.option("--name", required=True, callback=_checked_name, help="What the key is for.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(SCOPES),
    help="What the key may do; may be given several times. admin includes all others.",
)
def create(name: str, scopes: tuple[str, ...]) -> None:
    """Make an API key and print it, alone, on standard output. It cannot be shown again.

    \b
    Examples:
      dbaudit keys create --name admin --scope admin
      export DBAUDIT_API_KEY="$(dbaudit keys create --name ci --scope read:databases --scope read:events)"
    """
    with opened_state(configuration().settings) as state:
        from dbaudit.state.api_keys import Scope

        key, secret = state.api_keys.create(name, tuple(Scope(scope) for scope in dict.fromkeys(scopes)))
    click.echo(
        f"Made the key {key.id} with the scopes {', '.join(key.scopes)}. It is shown only now:", err=True
    )
    click.echo(secret.reveal())


@keys.command("list", cls=Command)
@output_option
def list_keys(output: str) -> None:
    """List the API keys, without the keys themselves."""
    with opened_state(configuration().settings) as state:
        found = state.api_keys.all()
    rows = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": list(key.scopes),
            "created_at": format_us(key.created_at_us),
            "last_used_at": None if key.last_used_at_us is None else format_us(key.last_used_at_us),
            "revoked_at": None if key.revoked_at_us is None else format_us(key.revoked_at_us),
        }
        for key in found
    ]
    if output == "json":
        print_json(rows)
    else:
        print_table(
            ("id", "name", "scopes", "created", "last used", "revoked"),
            [(*list(row.values())[:2], " ".join(row["scopes"]), *list(row.values())[3:]) for row in rows],
        )


@keys.command(cls=Command)
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Make an API key useless for ever. KEY_ID is its id, as `dbaudit keys list` shows it.

    A running API may take the key for good for a few seconds more.
    """
    with opened_state(configuration().settings) as state:
        state.api_keys.revoke(key_id)
    click.echo(f"Revoked {key_id}.", err=True)
