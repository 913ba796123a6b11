"""The account that servers run as: PostgreSQL refuses to be root."""

import os
import pwd
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SYSTEM_ACCOUNT = "dbaudit-test"


@dataclass(frozen=True)
class Account:
    """An account of the operating system.

    user_id is None for the account that already runs this process: nothing has to be changed then.
    """

    name: str
    user_id: int | None
    group_id: int | None

    def run(
        self, command: list[str | Path], environment: dict[str, str], folder: Path
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; its output and its exit status are in the result."""
        return subprocess.run(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=self.user_id,
            group=self.group_id,
            extra_groups=None if self.user_id is None else [],
        )

    def spawn(
        self, command: list[str | Path], environment: dict[str, str], folder: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        """Starts a command in a session of its own: a Ctrl-C meant for the tests does not reach it."""
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                user=self.user_id,
                group=self.group_id,
                extra_groups=None if self.user_id is None else [],
            )

    def own(self, paths: Iterable[Path]) -> None:
        for path in paths:
            if self.user_id is not None and self.group_id is not None:
                os.chown(path, self.user_id, self.group_id)

    def can_enter(self, folder: Path) -> bool:
        if self.user_id is None:
            return os.access(folder, os.R_OK | os.X_OK)
        return (
            self.run(["test", "-r", folder, "-a", "-x", folder], dict(os.environ), Path("/")).returncode == 0
        )


@cache
def server_account() -> Account:
    """The account of this process or, when that is root, a system account made for the purpose."""
    if os.geteuid() != 0:
        return Account(pwd.getpwuid(os.geteuid()).pw_name, None, None)
    for attempt in ("created by another process", "created here"):
        try:
            entry = pwd.getpwnam(SYSTEM_ACCOUNT)
        except KeyError:
            create = [
                "useradd",
                "--system",
                "--user-group",
                "--no-create-home",
                "--shell",
                "/usr/sbin/nologin",
            ]
            done = subprocess.run([*create, SYSTEM_ACCOUNT], capture_output=True, text=True, check=False)
            if done.returncode != 0 and attempt == "created here":
                raise RuntimeError(
                    f"cannot create the account {SYSTEM_ACCOUNT}: {done.stderr.strip()}"
                ) from None
        else:
            break
    entry = pwd.getpwnam(SYSTEM_ACCOUNT)
    return Account(SYSTEM_ACCOUNT, entry.pw_uid, entry.pw_gid)
