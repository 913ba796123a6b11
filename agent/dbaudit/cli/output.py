"""What commands print: a table for people, or JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Function = TypeVar("Function", bound=Callable[..., Any])

STATUS_STYLES = {
    "connected": "green",
    "active": "green",
    "alive": "green",
    "healthy": "green",
    "ok": "green",
    "pending": "yellow",
    "initializing": "yellow",
    "paused": "yellow",
    "disconnected": "yellow",
    "silent": "yellow",
    "warning": "yellow",
    "skipped": "yellow",
    "error": "red",
    "critical": "red",
    "failed": "red",
}
_PLAIN_WIDTH = 1000


def output_option(command: Function) -> Function:
    """The option --output."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="Form of the output.",
    )(command)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on standard output; in full width where it is not a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(styled(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Standard output with colours on a terminal, and unwrapped lines elsewhere."""
    return Console(
        file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH, soft_wrap=False
    )


def styled(cell: Any) -> str:
    """A value as a cell: nothing for None, a state in its colour, control characters made visible."""
    text = visible("" if cell is None else str(cell))
    style = STATUS_STYLES.get(text)
    return f"[{style}]{text}[/]" if style else escape(text)


def visible(text: str) -> str:
    """The text in one line that cannot steer a terminal: what is not printable is shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)
