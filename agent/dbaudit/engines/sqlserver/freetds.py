"""A freetds.conf of the agent's own, which is never on disk: FreeTDS takes TLS settings from that file only.

FreeTDS reads the file that the environment variable FREETDSCONF names whenever it connects. The variable is
set once, to the name of a file in memory. To change the settings, another file takes over its descriptor, so
a thread that is connecting at this moment reads either the whole old file or the whole new one.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError
from dbaudit.engine.certificates import in_memory

_HOST = re.compile(r"[A-Za-z0-9._:%-]+\Z")
_ENCRYPTION = {SslMode.DISABLE: "off"}


@contextmanager
def section(target: Target) -> Iterator[str]:
    """The name under which FreeTDS finds ``target``; inside the with block only."""
    if not _HOST.match(target.host):
        raise ConfigurationError(
            ErrorCode.VALIDATION_FAILED,
            f"host {target.host!r} is neither a host name nor an address.",
            details=[FieldError("/host", "must be a host name or an IP address")],
        )
    with ExitStack() as files:
        lines = [
            f"host = {target.host}",
            f"port = {target.port}",
            "tds version = 7.4",
            "client charset = UTF-8",
            f"encryption = {_ENCRYPTION.get(target.ssl_mode, 'require')}",
        ]
        if target.ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL):
            authorities = files.enter_context(in_memory(target.ssl_ca)) if target.ssl_ca else "system"
            check_name = "yes" if target.ssl_mode is SslMode.VERIFY_FULL else "no"
            lines += [f"ca file = {authorities}", f"check certificate hostname = {check_name}"]
        name = _configuration.add(lines)
        try:
            yield name
        finally:
            _configuration.remove(name)


class _Configuration:
    """The sections of the connections that are being made just now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sections: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._descriptor: int | None = None

    def add(self, lines: list[str]) -> str:
        with self._lock:
            name = f"dbaudit{next(self._numbers)}"
            self._sections[name] = "\n".join([f"[{name}]", *lines, ""])
            self._publish()
            return name

    def remove(self, name: str) -> None:
        with self._lock:
            del self._sections[name]
            self._publish()

    def _publish(self) -> None:
        written = os.memfd_create("freetds.conf", os.MFD_CLOEXEC)
        with open(written, "wb", closefd=False) as file:
            file.write("\n".join(self._sections.values()).encode())
        if self._descriptor is None:
            self._descriptor = written
        else:
            os.dup2(written, self._descriptor, inheritable=False)
            os.close(written)
        path = f"/proc/self/fd/{self._descriptor}"
        if os.environ.get("FREETDSCONF") != path:
            os.environ["FREETDSCONF"] = path


_configuration = _Configuration()
