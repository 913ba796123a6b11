"""Packages of any Debian suite, unpacked into a folder without installing them and without being root.

apt's own state lies in a temporary folder; the archive it asks is the one that the machine's sources name.
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.errors import EngineMissingError

SUITES = {
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
APT_FOLDER = Path("/etc/apt")


class Suite:
    """One Debian suite, with its package lists fetched."""

    def __init__(self, name: str, configuration: Path) -> None:
        self.name = name
        self._environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C"}

    def unpack(self, packages: Iterable[str], into: Path) -> None:
        """Downloads packages, without what they depend on, and unpacks their files.

        Raises:
            EngineMissingError: the suite has no such package.
        """
        with tempfile.TemporaryDirectory(prefix="dbaudit-deb-") as folder:
            self.run(["apt-get", "--quiet", "download", *packages], Path(folder))
            for archive in sorted(Path(folder).glob("*.deb")):
                self.run(["dpkg-deb", "--extract", archive, into], Path(folder))

    def needed_by(self, packages: Iterable[str]) -> list[str]:
        """The names of packages and of all that they depend on."""
        plan = self.run(["apt-get", "--simulate", "--no-install-recommends", "install", *packages], Path("/"))
        return re.findall(r"^Inst (\S+)", plan, re.MULTILINE)

    def run(self, command: list[str | Path], folder: Path) -> str:
        done = subprocess.run(
            command,
            cwd=folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = " ".join(map(str, command))
            raise EngineMissingError(
                f"Debian {self.name}: {words}: {(done.stderr or done.stdout).strip()[-800:]}"
            )
        return done.stdout


@contextmanager
def suite(name: str) -> Iterator[Suite]:
    """A suite to take packages from.

    Raises:
        EngineMissingError: the machine has no apt, no Debian archive in its sources, or cannot reach it.
    """
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise EngineMissingError(f"{program} is not on this machine, and Debian {name} is needed")
    archive = _archive()
    with tempfile.TemporaryDirectory(prefix="dbaudit-apt-") as state:
        folder = Path(state)
        for needed in ("lists/partial", "cache/archives/partial", "state"):
            (folder / needed).mkdir(parents=True)
        (folder / "status").touch()
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        (folder / "sources.list").write_text(f"deb {signed}{archive} {name} main\n")
        configuration = folder / "apt.conf"
        configuration.write_text(
            f'Dir::Etc::sourcelist "{folder}/sources.list";\n'
            'Dir::Etc::sourceparts "-";\n'
            'Dir::Etc::preferences "-";\n'
            'Dir::Etc::preferencesparts "-";\n'
            f'Dir::State "{folder}/state";\n'
            f'Dir::State::lists "{folder}/lists";\n'
            f'Dir::State::status "{folder}/status";\n'
            f'Dir::Cache "{folder}/cache";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "2";\n'
            'APT::Get::List-Cleanup "false";\n'
            'APT::Sandbox::User "";\n'
        )
        taken = Suite(name, configuration)
        taken.run(["apt-get", "--quiet", "update", "--error-on=any"], folder)
        yield taken


def _archive() -> str:
    for text in _source_files():
        for stanza in re.split(r"\n\s*\n", text):
            fields = {
                key.lower(): value for key, value in re.findall(r"^([\w-]+):\s*(.*)$", stanza, re.MULTILINE)
            }
            usable = fields.get("types", "").split()[:1] == ["deb"] and fields.get("enabled", "yes") != "no"
            if usable and _is_debian(fields.get("suites", ""), fields.get("components", "")):
                return str(fields["uris"].split()[0])
        for archive, name, components in re.findall(
            r"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+(.*)$", text, re.MULTILINE
        ):
            if _is_debian(name, components):
                return str(archive)
    raise EngineMissingError("the apt sources of this machine name no Debian archive")


def _is_debian(names: str, components: str) -> bool:
    return bool(SUITES & set(names.split())) and "main" in components.split()


def _source_files() -> Iterator[str]:
    parts = APT_FOLDER / "sources.list.d"
    for path in (
        APT_FOLDER / "sources.list",
        *sorted(parts.glob("*.sources")),
        *sorted(parts.glob("*.list")),
    ):
        if path.is_file():
            yield path.read_text()
