"""How remedies are worded for mongosh."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """A text as a literal for mongosh."""
    return json.dumps(text)


def grant_role(user: str, user_database: str, role: str) -> str:
    """The command for mongosh that grants the agent's user a role of the database `admin`."""
    granted = f'[{{ role: {quoted(role)}, db: "admin" }}]'
    return f"db.getSiblingDB({quoted(user_database)}).grantRolesToUser({quoted(user)}, {granted})"
