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
    return Act(operation=click.get_current_context().command_path, by=By.COMMAND_LINE, user=user)
