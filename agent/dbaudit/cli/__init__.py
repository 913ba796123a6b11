"""The command line, and the composition root: the only place that puts the parts together."""

from __future__ import annotations

import click

import dbaudit
from dbaudit.cli.config import config
from dbaudit.cli.core_dumps import prevent_core_dumps
from dbaudit.cli.databases import databases
from dbaudit.cli.engines import engines
from dbaudit.cli.events import events
from dbaudit.cli.keys import keys
from dbaudit.cli.nodes import nodes
from dbaudit.cli.secrets import secrets
from dbaudit.cli.service import agent, api
from dbaudit.cli.up import up

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(dbaudit.__version__, prog_name="dbaudit", message="%(prog)s %(version)s")
def main() -> None:
    """One API for the audit records of every database.

    \b
    Start here:
      dbaudit up                                         API and agent, on an embedded state
      dbaudit keys create --name admin --scope admin     an API key
      dbaudit events --follow                            what happens on the databases

    Settings come from dbaudit.toml, from variables DBAUDIT_* and from options; `dbaudit config show` lists
    them.
    """
    prevent_core_dumps()


for _command in (up, api, agent, keys, databases, nodes, events, engines, secrets, config):
    main.add_command(_command)
