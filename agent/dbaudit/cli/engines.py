"""`dbaudit engines`: what this installation can monitor, and what is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dbaudit.cli.command import Command
from dbaudit.cli.output import output_option, print_json, print_table

if TYPE_CHECKING:
    from dbaudit.engine import DriverStatus


@click.command(cls=Command)
@output_option
def engines(output: str) -> None:
    """List the installed engines and every broken plugin. Needs no API.

    \b
    Examples:
      dbaudit engines
      dbaudit engines --output json     also the options of each engine, as JSON Schema
    """
    import logging

    from dbaudit.engine.manager import load_engines

    logging.getLogger("dbaudit.engine").setLevel(logging.CRITICAL)  # the list itself says what is broken
    registry = load_engines()
    drivers = {name: registry.driver_status(name) for name in registry.installed}
    if output == "json":
        print_json(
            {
                "engines": [
                    {
                        "type": name,
                        "display_name": found.engine.display_name,
                        "distribution": found.distribution,
                        "distribution_version": found.distribution_version,
                        "api_version": found.engine.api_version,
                        "default_port": found.engine.default_port,
                        "supported_versions": found.engine.supported_versions,
                        "capabilities": sorted(found.engine.capabilities),
                        "driver": drivers[name],
                        "options_schema": found.engine.options_schema,
                    }
                    for name, found in registry.installed.items()
                ],
                "broken": registry.broken,
            }
        )
        return
    print_table(
        ("engine", "distribution", "plugin API", "server versions", "driver"),
        [
            (
                name,
                f"{found.distribution} {found.distribution_version}",
                found.engine.api_version,
                ", ".join(found.engine.supported_versions),
                _driver(drivers[name]),
            )
            for name, found in registry.installed.items()
        ],
    )
    if registry.broken:
        click.echo()
        print_table(
            ("broken plugin", "distribution", "reason"),
            [(b.name, f"{b.distribution} {b.distribution_version}", b.reason) for b in registry.broken],
        )


def _driver(status: DriverStatus) -> str:
    return f"{status.name} {status.version}" if status.problem is None else f"{status.name}: {status.problem}"
