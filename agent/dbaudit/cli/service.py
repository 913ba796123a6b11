"""`dbaudit api` and `dbaudit agent`: the two services, each in a process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from dbaudit.cli.children import SHUTDOWN_SECONDS, agent_child, end_all
from dbaudit.cli.command import Command, common_arguments, configuration, need_server
from dbaudit.cli.exit_codes import ExitCode
from dbaudit.cli.listening import listen, url_of
from dbaudit.cli.logs import announce, start_log
from dbaudit.cli.state import opened_state
from dbaudit.cli.stopping import stop_on_signals, stop_with_parent, wait_until_stopped
from dbaudit.cli.tls import check_tls
from dbaudit.configuration import Settings

if TYPE_CHECKING:
    from dbaudit.api import EngineDescription
    from dbaudit.engine.manager import EngineRegistry

_child_option = click.option("--child", is_flag=True, hidden=True, help="Stop when standard input ends.")


@click.command(cls=Command)
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", help="Port to listen on; 0 takes a free one.  [default: 8080]")
@click.option("--listen-fd", type=int, hidden=True, help="The listening socket, inherited.")
@_child_option
def api(host: str | None, port: str | None, listen_fd: int | None, child: bool) -> None:
    """Serve the API until SIGTERM or Ctrl-C. Needs a running agent on the same state.

    \b
    Examples:
      dbaudit api --port 8080
      DBAUDIT_STATE_URL=postgresql://... dbaudit api --host 0.0.0.0 --config /etc/dbaudit.toml
    """
    settings = configuration(host=host, port=port).settings
    need_server()
    stop = stop_on_signals()
    if child:
        stop_with_parent(stop)
    start_log(settings, "api")
    check_tls(settings)
    if listen_fd is None:
        listener = listen(settings.host, settings.port)
        tls = settings.tls_cert is not None
        announce(settings, "api", f"listening on {url_of(listener, tls=tls, local=False)}")
    else:
        listener = socket.socket(fileno=listen_fd)
    serve_api(settings, listener, stop)


@click.command(cls=Command)
@_child_option
@click.option("--marks-fd", type=int, hidden=True, help="The memory for the marks, inherited.")
@click.option("--died", hidden=True, help="How the agent before this one died.")
def agent(child: bool, marks_fd: int | None, died: str | None) -> None:
    """Test, monitor and collect the databases of the state until SIGTERM or Ctrl-C.

    Any number of agents can run on one state; each database is collected by one of them at a time. The agent
    itself is a child process, which is started again should an engine end it.
    """
    settings = configuration().settings
    need_server()
    stop = stop_on_signals()
    start_log(settings, "agent")
    if child:
        stop_with_parent(stop)
        run_agent(settings, stop, marks_fd, died)
    else:
        watch_agent(stop)


def serve_api(settings: Settings, listener: socket.socket, stop: threading.Event) -> None:
    """Answer on ``listener`` until ``stop`` is set; then let the requests that are being answered finish."""
    from dbaudit.api import ApiServer, ApiSettings, create_app
    from dbaudit.api.server import bind
    from dbaudit.engine.manager import load_engines

    with opened_state(settings, create=True) as state:
        app = create_app(
            state,
            engines=describe(load_engines()),
            settings=ApiSettings(
                rate_limit_per_minute=settings.rate_limit_per_minute,
                open_metrics=settings.open_metrics,
            ),
        )
        server = ApiServer(
            app,
            settings.host,
            settings.port,
            listener=listener,
            threads=settings.threads,
            shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            certificate=settings.tls_cert,
            key=settings.tls_key,
        )
        bind(server)

        def stop_server() -> None:
            stop.wait()
            server.stop()

        stopper = threading.Thread(target=stop_server, name="stopper")
        stopper.start()
        try:
            server.serve()
        finally:
            stop.set()
            stopper.join()


_CANNOT_START = frozenset({ExitCode.USAGE, ExitCode.CONFIGURATION, ExitCode.STATE_UNAVAILABLE}).__contains__


def watch_agent(stop: threading.Event) -> None:
    """Have an agent as a child until ``stop`` is set; an agent that dies is followed by another one."""
    child = agent_child((), stop, _CANNOT_START)
    child.start(common_arguments())
    wait_until_stopped(stop)
    code = end_all([child])
    if code:
        raise click.exceptions.Exit(code)


def run_agent(settings: Settings, stop: threading.Event, marks_fd: int | None, died: str | None) -> None:
    """Be an agent until ``stop`` is set; in the memory ``marks_fd`` are the marks of one that ``died``."""
    from dbaudit.agent import Agent, AgentSettings, Marks
    from dbaudit.engine.manager import load_engines

    marks = Marks(marks_fd)
    if marks_fd is not None:
        marks.watch_process()
    with opened_state(settings, create=True) as state:
        agent_settings = AgentSettings(
            node_name=settings.node_name,
            poll_interval_seconds=settings.poll_interval_seconds,
            shutdown_seconds=SHUTDOWN_SECONDS,
            api_event_retention_days=settings.api_event_retention_days,
            host_limits=settings.host_limits,
        )
        Agent(state, load_engines(), agent_settings, marks, died).run(stop)


def describe(registry: EngineRegistry) -> Sequence[EngineDescription]:
    """The engines as the API knows them: data, without a driver."""
    from dbaudit.api import EngineDescription
    from dbaudit.engine import Capability

    return [
        *(
            EngineDescription(
                type=name,
                display_name=found.engine.display_name,
                default_port=found.engine.default_port,
                options_schema=found.engine.options_schema,
                unix_sockets=Capability.UNIX_SOCKETS in found.engine.capabilities,
            )
            for name, found in registry.installed.items()
        ),
        *(
            EngineDescription(
                type=plugin.name,
                display_name=plugin.name,
                default_port=0,
                options_schema={},
                problem=plugin.reason,
            )
            for plugin in registry.broken
            if plugin.name not in registry.installed
        ),
    ]
