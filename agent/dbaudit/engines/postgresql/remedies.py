"""How the statements of remedies are worded."""

from __future__ import annotations

from psycopg import sql

RELOAD = "SELECT pg_reload_conf();"


def set_system(name: str, *values: str) -> str:
    """The statement that changes a setting of the whole server; several values make a list."""
    return f"ALTER SYSTEM SET {name} = {', '.join(sql.Literal(value).as_string() for value in values)};"


def set_and_reload(name: str, *values: str) -> str:
    """The statements that change a setting of the whole server at once."""
    return f"{set_system(name, *values)} {RELOAD}"
