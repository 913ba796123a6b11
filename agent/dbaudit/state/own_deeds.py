"""What the events on dbaudit itself say of each kind of change: before and after, and never a secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from msgspec.structs import asdict

from dbaudit.core.database import SHOWN_FIELDS, Database
from dbaudit.state.own_events import Action, Deed, differing

if TYPE_CHECKING:
    from dbaudit.state.databases import Declaration


def creation_of_database(created: Database, secrets: Iterable[str]) -> Deed:
    """A declaration that is new; ``secrets`` are the fields of the secrets that came with it."""
    return _of_database(Action.CREATED, created, {}, _declared(created), secrets)


def change_of_database(before: Database, after: Database, secrets: Iterable[str]) -> Deed:
    """A change of a declaration; ``secrets`` are the fields of the secrets that are others now."""
    return _of_database(Action.CHANGED, after, _declared(before), _declared(after), secrets)


def removal_of_database(removed: Database) -> Deed:
    """The end of a declaration."""
    return _of_database(Action.REMOVED, removed, _declared(removed), {}, ())


def test_of_connection(tested: Database | Declaration, stored: Database | None) -> Deed:
    """An agent is asked to log in to ``tested``; ``stored`` is the database that it is or would change."""
    place = {field: getattr(tested, field) for field in ("type", "host", "port", "database", "username")}
    names = (tested.name,) if stored is None else (stored.id, stored.name)
    return Deed(action=Action.TEST, objects=names, outcome=None, detail={"target": place})


def dry_run(objects: tuple[str, ...], secrets: Iterable[str]) -> Deed:
    """A request that changes nothing and had secrets, which may be guesses; ``secrets`` are their fields."""
    return Deed(action=Action.DRY_RUN, objects=objects, rows=0, detail={"given": sorted(secrets)})


def _of_database(
    action: Action, database: Database, before: dict[str, Any], after: dict[str, Any], secrets: Iterable[str]
) -> Deed:
    return Deed(
        action=action,
        objects=(database.id, database.name),
        rows=1,
        detail=differing(before, after) | {f"{field}_changed": True for field in sorted(secrets)},
    )


def _declared(database: Database) -> dict[str, Any]:
    fields = asdict(database)
    return {name: fields[name] for name in SHOWN_FIELDS}
