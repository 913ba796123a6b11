"""Connecting from a process that holds more descriptors than select() can wait for, as a busy agent may."""

import json
import resource
import socket
import subprocess
import sys
from pathlib import Path

from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret
from dbaudit.engines.mysql_protocol.connection import connect

from tests.patience import PATIENCE_SECONDS

SOCKETS = 2000


def version_asked_among_many_sockets(to: Target) -> str:
    """The server's version, asked by a process of its own that holds SOCKETS sockets."""
    asked = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([to.host, to.port, to.database, to.username, to.password.reveal()]),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert asked.returncode == 0, asked.stderr
    return asked.stdout.strip()


def _ask() -> None:
    host, port, database, username, password = json.load(sys.stdin)
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = [socket.socket() for _socket in range(SOCKETS)]
    to = Target(
        database_id="db_test",
        host=host,
        port=port,
        database=database,
        username=username,
        password=Secret(password),
        ssl_mode=SslMode.DISABLE,
    )
    connection = connect(to)
    assert held[-1].fileno() > SOCKETS
    print(connection.value("SELECT VERSION()"))
    connection.close()


if __name__ == "__main__":
    _ask()
