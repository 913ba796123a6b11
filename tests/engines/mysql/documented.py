"""The statements that the documentation asks users to run."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "engines" / "mysql.md"


def documented(block: str) -> list[str]:
    """The statements of the page's block of SQL that is marked with a name."""
    found = re.search(rf"<!-- sql: {block} -->\s*```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no block {block!r}"
    return [part.strip() for part in found[1].split(";") if part.strip()]
