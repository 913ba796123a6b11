"""`dbaudit databases`: the monitored databases, through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from dbaudit.cli.client import api_client, find_database
from dbaudit.cli.command import Command, show_error
from dbaudit.cli.exit_codes import ExitCode
from dbaudit.cli.output import output_option, print_json, print_table
from dbaudit.core.clock import format_time
from dbaudit.core.database import ConnectionStatus

if TYPE_CHECKING:
    from datetime import datetime

    from dbaudit.sdk import Database, DatabaseStatus, TestReport


@click.group()
def databases() -> None:
    """The monitored databases. Reads DBAUDIT_API_URL and DBAUDIT_API_KEY."""


@databases.command("list", cls=Command)
@click.option("--status", type=click.Choice([s.value for s in ConnectionStatus]), help="Connection status.")
@click.option("--type", "engine_type", metavar="TYPE", help="Engine, such as postgresql.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Several times: all of them.")
@output_option
def list_databases(status: str | None, engine_type: str | None, tags: tuple[str, ...], output: str) -> None:
    """List the databases.

    \b
    Examples:
      dbaudit databases list
      dbaudit databases list --status error --tag production
    """
    with api_client() as client:
        found = list(client.databases.list(status=status, type=engine_type, tags=tags))
    if output == "json":
        print_json(found)
        return
    print_table(
        ("id", "name", "type", "server", "status", "audit", "last event"),
        [(d.id, d.name, d.type, _server(d), d.status, d.audit_status, _time(d.last_event_at)) for d in found],
    )


@databases.command(cls=Command)
@click.argument("database")
@output_option
def show(database: str, output: str) -> None:
    """Show a database, its health and its collector. DATABASE is an id or a unique name.

    \b
    Example:
      dbaudit databases show "Production PostgreSQL"
    """
    with api_client() as client:
        database_id = find_database(client, database)
        found = client.databases.get(database_id)
        status = client.databases.get_status(database_id)
    if output == "json":
        more = {"collector": status.collector, "health_checks": status.health_checks}
        print_json({**msgspec.to_builtins(found), **more, "last_event": status.last_event})
    else:
        print_table(("field", "value"), _fields(found, status))


@databases.command(cls=Command)
@click.argument("database")
@output_option
@click.pass_context
def test(ctx: click.Context, database: str, output: str) -> None:
    """Have an agent test the connection now. DATABASE is an id or a unique name.

    Ends with 0 when the database was reached and every right is there, else with 1. Each thing that is
    missing comes with the exact statement or setting.
    """
    from dbaudit.sdk import ConnectionTestFailedError

    with api_client() as client:
        database_id = find_database(client, database)
        try:
            report = client.databases.test(database_id)
        except ConnectionTestFailedError as error:
            _show_report(error.report, output)
            show_error(error)
            ctx.exit(ExitCode.FAILURE)
    _show_report(report, output)
    if not report.success:
        ctx.exit(ExitCode.FAILURE)


def _show_report(report: TestReport, output: str) -> None:
    if output == "json":
        print_json(report)
        return
    if report.version is not None:
        latency = "" if report.latency_ms is None else f", {report.latency_ms:.2f} ms"
        click.echo(f"{report.version}{latency}")
    if report.diagnoses:
        print_table(
            ("step", "status", "found", "remedy"),
            [(d.code, d.status, d.detail, d.remedy) for d in report.diagnoses],
        )


def _fields(database: Database, status: DatabaseStatus) -> list[tuple[str, Any]]:
    collector, options, stats = status.collector, database.audit_options, database.stats
    last, error = status.last_event, collector.last_error
    fields: list[tuple[str, Any]] = [
        ("id", database.id),
        ("name", database.name),
        ("type", database.type),
        ("server", _server(database)),
        ("username", database.username),
        ("ssl_mode", database.ssl_mode),
        ("tags", ", ".join(database.tags)),
        ("status", database.status),
        ("status_reason", database.status_reason),
        ("audit_status", database.audit_status),
        *((f"audit_options.{name}", _word(value)) for name, value in msgspec.to_builtins(options).items()),
        *((f"health.{name}", value) for name, value in msgspec.to_builtins(status.health_checks).items()),
        ("collector.state", collector.state),
        ("collector.node", collector.node),
        ("collector.events_per_second", f"{collector.events_per_second:g}"),
        ("collector.gaps", collector.gaps),
        ("collector.rejected", collector.rejected),
        *((f"collector.left_out.{name}", records) for name, records in sorted(collector.left_out.items())),
        ("collector.last_error", error and error.message),
        ("events_today", stats and stats.events_today),
        ("last_event", last and f"{format_time(last.timestamp)} {last.type} {last.user or ''}".rstrip()),
        ("created_at", _time(database.created_at)),
        ("updated_at", _time(database.updated_at)),
    ]
    return fields


def _server(database: Database) -> str:
    host = f"[{database.host}]" if ":" in database.host else database.host
    return f"{host}:{database.port}/{database.database}"


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _word(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value or ""
