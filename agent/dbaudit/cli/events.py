"""`dbaudit events`: what happened on the databases, and what happens."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from dbaudit.cli.client import api_client, find_database
from dbaudit.cli.command import Command
from dbaudit.cli.output import output_option, visible
from dbaudit.core.clock import now, parse_time
from dbaudit.core.event import EventType, Severity

if TYPE_CHECKING:
    from dbaudit.sdk import Client, Event

_DEFAULT_LIMIT = 100
_LARGEST_PAGE = 1000
_AGO = re.compile(r"(\d{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_STYLES: dict[str, dict[str, Any]] = {"warning": {"fg": "yellow"}, "critical": {"fg": "red", "bold": True}}
_NARROWEST = 60


class _Moment(click.ParamType[datetime]):
    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        try:
            return now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])}) if ago else parse_time(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither like 10m, 2h or 3d nor ISO 8601.", param, ctx)


@click.command(cls=Command)
@click.option("--follow", "-f", is_flag=True, help="Show new events as they are stored, until Ctrl-C.")
@click.option("--database", metavar="ID_OR_NAME", help="Of one database; by id also a removed one.")
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    type=click.Choice([t.value for t in EventType]),
    help=f"Several times: any of them. {', '.join(EventType)}.",
)
@click.option("--user", metavar="NAME", help="Of one database user.")
@click.option("--severity", type=click.Choice([s.value for s in Severity]))
@click.option("--since", type=_Moment(), help="From then on: 10m, 2h, 3d (ago) or ISO 8601 (UTC).")
@click.option("--until", type=_Moment(), help="Up to then.")
@click.option("--contains", metavar="TEXT", help="With this part in the statement as it is stored.")
@click.option("--limit", type=click.IntRange(min=1), help=f"So many at most.  [default: {_DEFAULT_LIMIT}]")
@output_option
def events(
    follow: bool,
    database: str | None,
    since: datetime | None,
    until: datetime | None,
    contains: str | None,
    limit: int | None,
    output: str,
    **filters: Any,
) -> None:
    """Show the latest events, oldest first; one event a line, times in UTC.

    With --follow: what is stored from now on, without a limit; with --since also what is there already. It
    outlives restarts of the API. --output json gives an array; with --follow, one object a line.

    \b
    Examples:
      dbaudit events --follow
      dbaudit events --type user.login_failed --since 1d
      dbaudit events --database orders --user app --contains "delete from" --limit 1000
      dbaudit events --follow --output json | jq .query
    """
    if follow and until is not None:
        raise click.UsageError("--until cannot be used with --follow.")
    with api_client() as client:
        wanted: dict[str, Any] = {
            "database_id": database and _database_id(client, database),
            "type": filters["types"] or None,
            "user": filters["user"],
            "severity": filters["severity"],
            "query_contains": contains,
            "start_date": since,
        }
        if follow:
            if since is not None:
                wanted["cursor"] = None
            stream = client.events.follow(**wanted, on_outage=_show_outage)
            _print_each(islice(stream, limit), output)
            return
        limit = limit or _DEFAULT_LIMIT
        pages = client.events.list(**wanted, end_date=until, page_size=min(limit, _LARGEST_PAGE))
        found = list(islice(pages, limit))[::-1]
    if output == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=1))
    else:
        _print_each(found, output)


def _print_each(found: Iterable[Event], output: str) -> None:
    form = _json_line if output == "json" else _line
    colour = False if os.environ.get("NO_COLOR") else None
    for event in found:
        click.echo(form(event), color=colour)


def _json_line(event: Event) -> bytes:
    return msgspec.json.encode(event)


def _line(event: Event) -> str:
    """Time, kind, database, user, source, and what was done, cut to the width of the terminal."""
    head = " ".join(
        (
            f"{event.timestamp:%m-%d %H:%M:%S}",
            _cell(event.type.rpartition(".")[2], 13),
            _cell(event.database_name, 12),
            _cell(event.user or "-", 10),
            _cell(event.source_ip or event.source_host or "-", 15),
        )
    )
    line = f"{head} {_text(event)}".rstrip()
    if sys.stdout.isatty():
        width = max(shutil.get_terminal_size().columns, _NARROWEST)
        line = line if len(line) <= width else f"{line[: width - 1]}\u2026"
    style = _STYLES.get(event.severity)
    return click.style(line, **style) if style else line


def _text(event: Event) -> str:
    parts: list[str] = []
    if event.outcome == "failure":
        parts.append(f"FAILED {event.error_code or ''}".rstrip())
    reason = (event.detail or {}).get("reason")
    if event.query is not None:
        parts.append(" ".join(event.query.split()))
    elif event.operation is not None:
        parts.append(event.operation)
    elif reason is not None:
        parts.append(str(reason))
    elif event.application:
        parts.append(event.application)
    return visible(" ".join(parts))


def _cell(text: str, width: int) -> str:
    shown = visible(text)
    return f"{shown:{width}}" if len(shown) <= width else f"{shown[: width - 1]}\u2026"


def _database_id(client: Client, wanted: str) -> str:
    # By id no look-up: the database may have been removed, and the key may be allowed to read events only.
    return wanted if wanted.startswith("db_") else find_database(client, wanted)


def _show_outage(error: Exception) -> None:
    click.echo(f"Waiting for the API: {error}", err=True)
