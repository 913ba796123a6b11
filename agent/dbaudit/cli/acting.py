"""Who runs the command."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dbaudit.state.own_events import Act


def acting() -> Act:
    """The act of the command that is running, by the account of the operating system."""
    from dbaudit.state.own_events import Act, By

    user_id = os.getuid()
    try:
        user = pwd.getpwuid(user_id).pw_name
    except KeyError:  # in a container an account may have no name
        user = str(user_id)
    return Act(operation=_command(click.get_current_context()), by=By.COMMAND_LINE, user=user)


def _command(context: click.Context) -> str:
    # The command above all others has the name of the file that was started.
    above = "dbaudit" if context.parent is None else _command(context.parent)
    return above if context.parent is None else f"{above} {context.info_name}"
