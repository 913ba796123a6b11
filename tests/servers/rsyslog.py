"""rsyslogd of Debian behind /dev/log, where programs of the tests write to by syslog(3).

There is one /dev/log on a machine: where another daemon has it, or who runs the tests may not make it, there
is none for the tests.
"""

import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import processes
from tests.servers.account import server_account
from tests.servers.bundle import bundle
from tests.servers.cache import once
from tests.servers.errors import EngineMissingError

SUITE = "bookworm"
VERSION = "8.2302"
PROGRAM = "rsyslogd"
# What the package depends on but the daemon does not load.
NOT_LOADED = ("gcc", "adduser", "debconf", "dpkg", "passwd", "perl", "tar")
SOCKET = Path("/dev/log")
FILES = {
    "traditional": "RSYSLOG_TraditionalFileFormat",
    "precise": "RSYSLOG_FileFormat",
    "protocol": "RSYSLOG_SyslogProtocol23Format",
}
"""The files that it writes, and the templates of the daemon for them."""


def program() -> Path:
    """rsyslogd, fetched with its libraries when it is not in the cache yet.

    Raises:
        EngineMissingError: it cannot be fetched.
    """
    return once(f"rsyslog-{VERSION}", _fetch) / PROGRAM


def _fetch(folder: Path) -> None:
    bundle(
        folder,
        PROGRAM,
        suite=SUITE,
        package="rsyslog",
        source=f"usr/sbin/{PROGRAM}",
        not_loaded=NOT_LOADED,
        options='-M "$lib"',
    )


class RsyslogServer:
    """A daemon that writes what comes to /dev/log to a file in each of its formats, gone at the end.

    Raises:
        EngineMissingError: it cannot be fetched, or the machine's /dev/log cannot be had.
    """

    def __init__(self, *, repeats: bool = False) -> None:
        self.folder = processes.new_run_folder("rsyslog")
        server_account().own([self.folder])
        self._repeats = repeats

    def file(self, form: str) -> Path:
        """The file in one of FILES."""
        return self.folder / f"{form}.log"

    def __enter__(self) -> Self:
        command = program()
        socket = self.folder / "socket"
        try:
            SOCKET.symlink_to(socket)
        except OSError as error:
            shutil.rmtree(self.folder)
            raise EngineMissingError(f"{SOCKET} cannot be had for the tests: {error.strerror}") from None
        try:
            configuration = self.folder / "rsyslog.conf"
            configuration.write_text(
                f'module(load="imuxsock" SysSock.Name="{socket}" SysSock.RateLimit.Interval="0")\n'
                f"$RepeatedMsgReduction {'on' if self._repeats else 'off'}\n"
                + "".join(
                    f'action(type="omfile" file="{self.file(form)}" template="{template}")\n'
                    for form, template in FILES.items()
                )
            )
            for form in FILES:
                self.file(form).touch()
                server_account().own([self.file(form)])
            self._process = server_account().spawn(
                [command, "-n", "-f", configuration, "-i", self.folder / "pid"],
                {"LC_ALL": "C.UTF-8"},
                self.folder,
                self.folder / "output",
            )
            processes.wait_for(socket.exists, "rsyslogd")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._end()

    def _end(self) -> None:
        SOCKET.unlink()
        shutil.rmtree(self.folder)
