"""The statements that the documentation asks users to run."""

import re
from pathlib import Path

from tests.servers.mariadb import MariaDBServer

PAGE = Path(__file__).parents[3] / "docs" / "engines" / "mariadb.md"
PASSWORD = "a long random password"


def documented(block: str) -> list[str]:
    """The statements of the page's block of SQL that is marked with a name."""
    found = re.search(rf"<!-- sql: {block} -->\s*```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no block {block!r}"
    return statements(found[1])


def statements(text: str) -> list[str]:
    """The statements of a remedy or a block, without what a comment asks for beside them."""
    return [part.strip() for part in text.partition(" -- ")[0].split(";") if part.strip()]


def run_documented(server: MariaDBServer, block: str) -> None:
    """As an administrator, for the agent's host of the tests."""
    for statement in documented(block):
        server.execute_admin(statement.replace("10.0.0.%", "127.0.0.1"))
