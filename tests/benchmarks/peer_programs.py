"""Other people's programs: fetched without installing them, run, and timed."""

import resource
import subprocess
import sys
import time
from pathlib import Path

from tests.benchmarks.figures import say
from tests.servers import debian
from tests.servers.cache import once

_SUITE = "bookworm"
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 120.0
_SETTLED_SECONDS = 3.0


class PeerFailedError(Exception):
    """A peer did not do its work here."""


def debian_programs(package: str) -> Path:
    """The package and all that it depends on, unpacked."""

    def fetch(folder: Path) -> None:
        with debian.suite(_SUITE) as suite:
            suite.unpack([package, *_loaded(suite.needed_by([package]))], folder)

    return once(f"peer-{package}", fetch)


def _loaded(packages: list[str]) -> list[str]:
    """The libraries among the packages that a package depends on."""
    return [
        name for name in packages if name.startswith("lib") and not name.startswith(("libperl", "libc-bin"))
    ]


def python_package(name: str) -> Path:
    """The folder of a package from PyPI and of all that it depends on."""

    def fetch(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--target", str(folder), name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise PeerFailedError(f"it cannot be installed: {done.stderr.strip()[-300:]}")

    return once(f"peer-{name}", fetch)


def command_of(programs: Path, program: str) -> list[str]:
    """The command for a program that brings its libraries, its own C library included."""
    loader = next(programs.glob("lib/*/ld-linux*.so.*"), None)
    if loader is None:
        raise PeerFailedError("its C library is missing")
    libraries = ":".join(
        str(folder) for pattern in ("lib/*", "usr/lib/*", "usr/lib/*/*") for folder in programs.glob(pattern)
    )
    return [str(loader), "--library-path", libraries, str(programs / program)]


def run_to_the_end(command: list[str], output: Path) -> float:
    """Runs a program that ends by itself; returns the seconds that it took."""
    begin, cpu_begin = time.perf_counter(), _cpu_seconds()
    errors = output.with_name("errors")
    with output.open("wb") as file, errors.open("wb") as error_file:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=error_file,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    if done.returncode != 0:
        raise PeerFailedError(f"it ended with code {done.returncode}: {_last_words(errors)}")
    seconds = time.perf_counter() - begin
    say(f"{seconds:.2f} s, {_cpu_seconds() - cpu_begin:.2f} s of the cores")
    return seconds


def run_until_settled(command: list[str], output: Path) -> float:
    """Runs a program that follows a file for ever; returns the seconds until it wrote no more."""
    begin = last = time.perf_counter()
    cpu_begin = _cpu_seconds()
    errors = output.with_name("errors")
    with errors.open("wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=file)
    try:
        size = 0
        while (now := time.perf_counter()) - last < (_SETTLED_SECONDS if size else _PATIENCE_SECONDS):
            if process.poll() is not None:
                raise PeerFailedError(f"it ended with code {process.returncode}: {_last_words(errors)}")
            larger = output.stat().st_size if output.exists() else 0
            if larger != size:
                size, last = larger, now
            time.sleep(_LOOK_SECONDS)
    finally:
        process.terminate()  # it writes what it still has in its buffers
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    say(f"{last - begin:.2f} s, {_cpu_seconds() - cpu_begin:.2f} s of the cores")
    return last - begin


def _last_words(file: Path) -> str:
    return " ".join(file.read_text(errors="replace").split())[-300:]


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
