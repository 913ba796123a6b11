"""The statements that the documentation asks users to run."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "engines" / "postgresql.md"


def documented(block: str) -> list[str]:
    """The statements of the page's block of SQL that is marked with a name."""
    found = re.search(rf"<!-- sql: {block} -->\s*```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no block {block!r}"
    return statements(found[1])


def statements(text: str) -> list[str]:
    """The statements of a remedy or a block, without what a comment asks for beside them."""
    return [part.strip() for part in text.partition(" -- ")[0].split(";") if part.strip()]
