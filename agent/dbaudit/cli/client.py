"""The client of the commands that ask the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dbaudit.cli.command import configuration
from dbaudit.cli.up import URL_FILE
from dbaudit.core.errors import ConfigurationError, ErrorCode, RequestError, not_found

if TYPE_CHECKING:
    from dbaudit.sdk import Client


@contextmanager
def api_client() -> Iterator[Client]:
    """A client of the API at api_url; without that setting, of the `dbaudit up` that runs on the home."""
    from dbaudit.sdk import Client

    settings = configuration().settings
    url = settings.api_url or _url_of_home(settings.home)
    if settings.api_key is None:
        raise RequestError(
            ErrorCode.UNAUTHORIZED,
            "There is no API key.",
            remedy="Set DBAUDIT_API_KEY to a key that dbaudit keys create has made.",
        )
    with Client(api_url=url, api_key=settings.api_key) as client:
        yield client


def find_database(client: Client, wanted: str) -> str:
    """The id of the database with the id or the unique name ``wanted``."""
    from dbaudit.sdk import NotFoundError

    if wanted.startswith("db_"):
        try:
            return client.databases.get(wanted).id
        except NotFoundError:
            pass  # it may be a name
    found = [database.id for database in client.databases.list(name=wanted)]
    if not found:
        raise not_found("database", wanted)
    if len(found) > 1:
        raise RequestError(
            ErrorCode.CONFLICT,
            f"{len(found)} databases have the name {wanted!r}.",
            remedy=f"Give the id of one: {', '.join(found)}.",
        )
    return found[0]


def _url_of_home(home: Path) -> str:
    try:
        return (home / URL_FILE).read_text().strip()
    except OSError:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The address of the API is not known: no dbaudit up is running on {home}.",
            remedy="Set DBAUDIT_API_URL, or give the --home of a running dbaudit up.",
        ) from None
