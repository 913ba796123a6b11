"""Which databases a key reaches: those that have all of its tags. Nothing else exists for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dbaudit.core.database import Database
from dbaudit.core.errors import FieldError


def reaches(bound_to: Iterable[str], database: Database) -> bool:
    """Whether a key that is bound to these tags reaches ``database``; without any it reaches all."""
    return set(bound_to) <= set(database.tags)


def tag_errors(bound_to: Sequence[str], tags: Sequence[str]) -> list[FieldError]:
    """What is wrong with ``tags`` of a declaration of a key that is bound to others."""
    missing = [tag for tag in bound_to if tag not in tags]
    if not missing:
        return []
    return [FieldError("/tags", f"must contain {', '.join(missing)}, which the API key is bound to")]
