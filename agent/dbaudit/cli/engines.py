"""`dbaudit engines`: what this installation can monitor, and what is broken."""

from __future__ import annotations

import click

from dbaudit.cli.command import Command
from dbaudit.cli.output import output_option, print_json, print_table


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
    installed = []
    for name, found in registry.installed.items():
        driver = registry.driver_status(name)
        installed.append(
            {
                "type": name,
                "display_name": found.engine.display_name,
                "distribution": found.distribution,
                "distribution_version": found.distribution_version,
                "api_version": found.engine.api_version,
                "default_port": found.engine.default_port,
                "supported_versions": list(found.engine.supported_versions),
                "capabilities": sorted(found.engine.capabilities),
                "driver": {"name": driver.name, "version": driver.version, "problem": driver.problem},
                "options_schema": found.engine.options_schema,
            }
        )
    if output == "json":
        print_json({"engines": installed, "broken": registry.broken})
        return
    print_table(
        ("engine", "distribution", "plugin API", "server versions", "driver"),
        [
            (
                engine["type"],
                f"{engine['distribution']} {engine['distribution_version']}",
                engine["api_version"],
                ", ".join(engine["supported_versions"]),
                _driver(**engine["driver"]),
            )
            for engine in installed
        ],
    )
    if registry.broken:
        click.echo()
        print_table(
            ("broken plugin", "distribution", "reason"),
            [(b.name, f"{b.distribution} {b.distribution_version}", b.reason) for b in registry.broken],
        )


def _driver(name: str, version: str | None, problem: str | None) -> str:
    return f"{name} {version}" if problem is None else f"{name}: {problem}"
