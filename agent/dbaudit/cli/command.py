"""What every command has: --home, --config and --debug, its settings, and errors in one clear line."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from dbaudit.cli.exit_codes import ExitCode, exit_code
from dbaudit.configuration import Configuration, load
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_OF_SERVER = re.compile(r"extra == ['\"]server['\"]")


class Command(click.Command):
    """A command of dbaudit. Its callback gets the parameters it declares; ``configuration`` the rest."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += [
            click.Option(
                ["--home"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_keep,
                help="Folder of the embedded state.",
            ),
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=_keep,
                help="Configuration file; otherwise dbaudit.toml in the home.",
            ),
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_keep,
                help="Show the traceback of an error.",
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes one line on standard error and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except DbauditError as error:
            if ctx.meta[_key("debug")]:
                raise
            show_error(error)
            raise click.exceptions.Exit(exit_code(error.code)) from None
        except BrokenPipeError:
            raise  # click ends quietly: the reader of our output has closed it
        except Exception as error:  # the outermost handler
            if ctx.meta[_key("debug")]:
                raise
            if logging.getLogger().handlers:  # a service: users look into its log
                _log.critical("dbaudit ends because of a fault", exc_info=error)
            # Not the text of the error: it was not checked for secrets.
            click.echo(
                f"Error: {type(error).__name__}, which is a bug in dbaudit; --debug shows where.", err=True
            )
            raise click.exceptions.Exit(ExitCode.FAILURE) from None


def configuration(**options: Any) -> Configuration:
    """The settings of the command that is running; ``options`` are its own that are settings (None: not
    given).
    """
    meta = click.get_current_context().meta
    given: Mapping[str, Any] = {"home": _text(meta[_key("home")]), **options}
    return load(
        {name: value for name, value in given.items() if value is not None},
        os.environ,
        config_file=meta[_key("config")],
    )


def common_arguments() -> list[str]:
    """The common options of the command that is running, for a child process."""
    meta = click.get_current_context().meta
    arguments = [
        argument
        for name in ("home", "config")
        if meta[_key(name)] is not None
        for argument in (f"--{name}", str(meta[_key(name)].absolute()))
    ]
    return [*arguments, "--debug"] if meta[_key("debug")] else arguments


def show_error(error: DbauditError) -> None:
    """The error on standard error: what is wrong, each field, and the remedy."""
    details = "".join(f" {detail.pointer}: {detail.message}." for detail in error.details)
    remedy = f" {error.remedy}" if error.remedy else ""
    request = getattr(error, "request_id", None)
    known_as = f" (request {request})" if request and exit_code(error.code) is ExitCode.FAILURE else ""
    line = " ".join(f"Error: {error.message}{details}{remedy}{known_as}".split())
    click.echo(click.style(line, fg="red"), err=True)


def need_server() -> None:
    """Raise ConfigurationError where the parts that run a service are not installed."""
    missing = [name for name in _required_by_server() if not _is_installed(name)]
    if missing:
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"This command needs packages that are not installed: {', '.join(missing)}.",
            remedy="pip install 'dbaudit[server]'",
        )


def _required_by_server() -> list[str]:
    return [
        found[0]
        for requirement in metadata.requires("dbaudit") or ()
        if (found := _NAME.match(requirement)) and _OF_SERVER.search(requirement)
    ]


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    ctx.meta[_key(str(parameter.name))] = value
    return value


def _key(name: str) -> str:
    return f"{__name__}.{name}"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
