"""`dbaudit up`: API and agent in one process tree, on an embedded state."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import httpx

from dbaudit.cli.children import Child, agent_child, end_all
from dbaudit.cli.command import Command, common_arguments, configuration, need_server
from dbaudit.cli.listening import listen, url_of
from dbaudit.cli.logs import announce, start_log
from dbaudit.cli.state import make_home, opened_state
from dbaudit.cli.stopping import stop_on_signals, wait_until_stopped
from dbaudit.cli.tls import check_tls
from dbaudit.core.errors import ConfigurationError, ErrorCode

if TYPE_CHECKING:
    from dbaudit.configuration import Settings

URL_FILE = "api.url"
_LOCK_FILE = "up.lock"
_ORPHANS_SECONDS = 30.0
_PAUSE_SECONDS = 0.1


@click.command(cls=Command)
@click.option("--host", metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", help="Port to listen on; 0 takes a free one.  [default: 8080]")
def up(host: str | None, port: str | None) -> None:
    """Run API and agent until SIGTERM or Ctrl-C. Nothing else has to be installed or configured.

    The home gets the state, the key file and api.url, by which client commands find this API.

    \b
    Examples:
      dbaudit up
      dbaudit up --home /srv/dbaudit --port 0
    """
    settings = configuration(host=host, port=port).settings
    need_server()
    stop = stop_on_signals()
    start_log(settings, "up")
    check_tls(settings)
    make_home(settings.home)
    with (
        _locked(settings.home / _LOCK_FILE) as lock,
        listen(settings.host, settings.port) as listener,
    ):
        code = _run(settings, listener, lock, stop)
    if code:
        raise click.exceptions.Exit(code)
    announce(settings, "up", "stopped")


def _run(settings: Settings, listener: socket.socket, lock: int, stop: threading.Event) -> int:
    """Run the children until ``stop`` is set; the exit code of the first that did not end cleanly, or 0."""
    tls = settings.tls_cert is not None
    url = url_of(listener, tls=tls, local=True)
    children = [
        Child(
            "api",
            lambda died: ["--child", "--listen-fd", str(listener.fileno())],
            (listener.fileno(), lock),
            stop,
        ),
        agent_child((lock,), stop),
    ]
    try:
        with opened_state(settings, create=True) as state:
            _publish(settings.home / URL_FILE, url)
            announce(settings, "up", f"listening on {url_of(listener, tls=tls, local=False)}")
            for child in children:
                child.start(common_arguments())
            if _until_ready(url, stop):
                announce(settings, "up", f"ready; the API is described at {url}/v1/docs/")
                if state.api_keys.count() == 0:
                    announce(settings, "up", _how_to_make_a_key(settings.home))
        wait_until_stopped(stop)
    finally:
        code = end_all(children)
        (settings.home / URL_FILE).unlink(missing_ok=True)
    return code


def _until_ready(url: str, stop: threading.Event) -> bool:
    """Wait until the service is ready; False if ``stop`` is set before."""
    # This is our own socket: there is nothing that a certificate or a proxy could add.
    with httpx.Client(verify=False, trust_env=False, timeout=5.0) as client:  # noqa: S501  # our own socket
        while not stop.wait(_PAUSE_SECONDS):
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"{url}/health/ready").status_code == httpx.codes.OK:
                    return True
    return False


def _how_to_make_a_key(home: Path) -> str:
    option = f" --home {shlex.quote(str(home))}" if "--home" in common_arguments() else ""
    return f"There is no API key yet. Make one: dbaudit keys create --name admin --scope admin{option}"


def _publish(file: Path, url: str) -> None:
    draft = file.with_name(f"{file.name}.new")
    draft.write_text(f"{url}\n")
    draft.replace(file)


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    """Hold the home for this process tree: the children inherit the lock."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _ORPHANS_SECONDS
        while not _try_lock(descriptor):
            holder = os.pread(descriptor, 32, 0).decode().strip()
            # Where the holder is dead, its children are just about to end.
            if time.monotonic() > deadline or (holder and Path(f"/proc/{holder}").exists()):
                raise ConfigurationError(
                    ErrorCode.CONFIGURATION_INVALID,
                    f"dbaudit up (process {holder or 'unknown'}) is running on {file.parent} already.",
                    remedy="Stop it, or give another --home.",
                )
            time.sleep(_PAUSE_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
