"""`dbaudit keys`: API keys, directly on the state."""

from __future__ import annotations

import click

from dbaudit.cli.acting import acting
from dbaudit.cli.command import Command, configuration
from dbaudit.cli.output import output_option, print_json, print_table
from dbaudit.cli.state import opened_state
from dbaudit.core.clock import format_us
from dbaudit.core.key_bounds import (
    MOST_NETWORKS,
    MOST_TAGS,
    expiry_us,
    normal_networks,
    tag_problem,
    tags_problem,
)

# As in dbaudit.state.api_keys.Scope, which only a server installation can import; a test compares them.
SCOPES = (
    "read:databases",
    "write:databases",
    "test:databases",
    "read:events",
    "view_cluster_info",
    "update_cluster",
    "admin",
)
_NAME_CHARACTERS = 200


@click.group()
def keys() -> None:
    """API keys. These commands work on the state, not through the API."""


def _checked_name(ctx: click.Context, parameter: click.Parameter, value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > _NAME_CHARACTERS:
        raise click.BadParameter(f"must be one line of 1 to {_NAME_CHARACTERS} characters")
    return value


def _checked_expiry(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return expiry_us(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _checked_networks(
    ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    if len(value) > MOST_NETWORKS:
        raise click.BadParameter(f"may be given {MOST_NETWORKS} times at most")
    try:
        return normal_networks(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _checked_tags(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    if len(value) > MOST_TAGS:
        raise click.BadParameter(f"may be given {MOST_TAGS} times at most")
    for tag in value:
        problem = tag_problem(tag)
        if problem is not None:
            raise click.BadParameter(problem)
    return tuple(dict.fromkeys(value))


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
@click.option(
    "--expires-at",
    callback=_checked_expiry,
    metavar="TIME",
    help="From when on it is refused, such as 2027-01-31T12:00:00Z. Without this it does not expire.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    callback=_checked_networks,
    metavar="CIDR",
    help="Where it may be used, such as 10.1.0.0/16; may be given several times. Without this: everywhere.",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    callback=_checked_tags,
    metavar="TAG",
    help="It reaches only databases with this tag; may be given several times: those with all of them.",
)
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    scopes: tuple[str, ...],
    expires_at: int | None,
    networks: tuple[str, ...],
    tags: tuple[str, ...],
) -> None:
    """Make an API key and print it, alone, on standard output. It cannot be shown again.

    \b
    Examples:
      dbaudit keys create --name admin --scope admin
      export DBAUDIT_API_KEY="$(dbaudit keys create --name ci --scope read:databases --scope read:events)"
    """
    problem = tags_problem(scopes, tags)
    if problem is not None:
        raise click.BadParameter(problem, ctx, param_hint="--tag")
    found = configuration()
    with opened_state(found.settings, create=True) as state:
        from dbaudit.state.api_keys import Bounds, Scope

        bounds = Bounds(expires_at_us=expires_at, networks=networks, tags=tags)
        key, secret = state.api_keys.create(
            name, tuple(Scope(scope) for scope in dict.fromkeys(scopes)), bounds, act=acting()
        )
    click.echo(f"Made the key {key.id} in {found.shown('state_url')}. It is shown only now:", err=True)
    click.echo(secret.reveal())


@keys.command("list", cls=Command)
@output_option
def list_keys(output: str) -> None:
    """List the API keys, without the keys themselves."""
    with opened_state(configuration().settings, create=False) as state:
        found = state.api_keys.all()
    if output == "json":
        print_json(
            [
                {
                    "id": key.id,
                    "name": key.name,
                    "scopes": key.scopes,
                    "created_at": _time(key.created_at_us),
                    "last_used_at": _time(key.last_used_at_us),
                    "revoked_at": _time(key.revoked_at_us),
                    "expires_at": _time(key.bounds.expires_at_us),
                    "networks": key.bounds.networks,
                    "tags": key.bounds.tags,
                }
                for key in found
            ]
        )
    else:
        print_table(
            ("id", "name", "scopes", "networks", "tags", "created", "last used", "expires", "revoked"),
            [
                (
                    key.id,
                    key.name,
                    " ".join(key.scopes),
                    " ".join(key.bounds.networks) or None,
                    ",".join(key.bounds.tags) or None,
                    _time(key.created_at_us),
                    _time(key.last_used_at_us),
                    _time(key.bounds.expires_at_us),
                    _time(key.revoked_at_us),
                )
                for key in found
            ],
        )


def _time(time_us: int | None) -> str | None:
    return None if time_us is None else format_us(time_us, whole_seconds=True)


@keys.command(cls=Command)
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke an API key permanently. KEY_ID is its id, as `dbaudit keys list` shows it.

    A running API may accept the key for a few seconds more.
    """
    with opened_state(configuration().settings, create=False) as state:
        state.api_keys.revoke(key_id, act=acting())
    click.echo(f"Revoked {key_id}.", err=True)
