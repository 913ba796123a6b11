"""`dbaudit nodes`: the agents, through the API."""

from __future__ import annotations

import click

from dbaudit.cli.client import api_client
from dbaudit.cli.command import Command
from dbaudit.cli.output import output_option, print_json, print_table
from dbaudit.core.clock import format_time


@click.group()
def nodes() -> None:
    """The agents. Reads DBAUDIT_API_URL and DBAUDIT_API_KEY."""


@nodes.command("list", cls=Command)
@output_option
def list_nodes(output: str) -> None:
    """List the agents: whether they live, what they can, how many databases they collect.

    \b
    Example:
      dbaudit nodes list
    """
    with api_client() as client:
        found = client.nodes.list()
    if output == "json":
        print_json(found)
        return
    print_table(
        ("id", "name", "version", "state", "databases", "last heartbeat", "capabilities"),
        [
            (
                node.id,
                node.name,
                node.version,
                "alive" if node.alive else "silent",
                len(node.databases),
                format_time(node.last_heartbeat),
                " ".join(node.capabilities),
            )
            for node in found
        ],
    )
