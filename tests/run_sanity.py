"""ansible-test sanity on the checkout and on the collection as it is built and installed.

ansible-test wants its collection below ``ansible_collections/NAMESPACE/NAME``, so it works on copies. Its
virtual environments lie in a home folder below ``.cache``, where it also finds a stand-in for the script by
which it would otherwise fetch pip from a site of its own.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import yaml

from tests.collection_copies import HOME, PROGRAMS, REPOSITORY, build_and_install, copy_checkout, environment

SYSTEM_PATH = ["/usr/local/bin", "/usr/bin", "/bin"]

BOOTSTRAP = '''\
"""Installs pip {version} from the package index, by the pip that Python itself brings."""
import subprocess
import sys

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
subprocess.check_call([sys.executable, "-m", "ensurepip"], stdout=subprocess.DEVNULL)
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "pip=={version}"] + arguments))
'''

# What ansible-test writes when it leaves a test out; a Python that is not on this machine is no fault.
LEFT_OUT = re.compile(
    r"^WARNING: (?:Skipping |Required program )(?!.*could not be found\.$).*$", re.MULTILINE
)


def main() -> int:
    ignored = list((REPOSITORY / "tests" / "sanity").glob("ignore*"))
    if ignored:
        print(f"an ignore file is not allowed: {ignored[0]}", file=sys.stderr)
        return 1
    pythons = dict(interpreters())
    print(f"sanity on Python {', '.join(pythons)}", flush=True)
    _prepare_home()
    variables = environment(*dict.fromkeys(found.parent for found in pythons.values()), *SYSTEM_PATH)
    with tempfile.TemporaryDirectory(prefix="dbaudit-sanity-") as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        installed = build_and_install(checkout, Path(folder))
        passed = [
            _check("checkout", checkout, variables),
            _check("built collection", installed, variables),
        ]
    return 0 if all(passed) else 1


def _check(name: str, collection: Path, variables: dict[str, str]) -> bool:
    started = time.monotonic()
    done = subprocess.run(
        [PROGRAMS / "ansible-test", "sanity", "--color", "no"],
        cwd=collection,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    left_out = LEFT_OUT.findall(done.stdout)
    tests = len(set(re.findall(r"^Running sanity test \"([\w-]+)\"", done.stdout, re.MULTILINE)))
    passed = done.returncode == 0 and not left_out and tests > 0
    if not passed:
        print(done.stdout, *left_out, sep="\n")
    verdict = "passed" if passed else "FAILED"
    print(f"sanity of the {name}: {tests} tests {verdict} in {time.monotonic() - started:.1f} s", flush=True)
    return passed


def interpreters() -> Iterator[tuple[str, Path]]:
    """The Pythons of the modules' range that run on this machine, the one of this process first."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    yield own, Path(sys.executable)
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for version in sorted(promised_versions() - {own}, key=lambda text: int(text.split(".")[1])):
        named = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python{version}"))]
        for candidate in filter(None, named):
            found = subprocess.run(
                [candidate, "-c", "import ensurepip, sys; print(sys.executable)"],
                capture_output=True,
                text=True,
                check=False,
            )
            if found.returncode == 0:
                yield version, Path(found.stdout.strip())
                break


def promised_versions() -> set[str]:
    """The Pythons that this ansible-test knows and tests/config.yml asks for."""
    constants = ast.parse((_ansible_test() / "_util/target/common/constants.py").read_text())
    known = {
        version
        for statement in constants.body
        if isinstance(statement, ast.Assign)
        for version in ast.literal_eval(statement.value)
    }
    wanted = yaml.safe_load((REPOSITORY / "tests" / "config.yml").read_text())["modules"]["python_requires"]
    lowest = int(wanted.removeprefix(">=3."))
    return {version for version in known if int(version.split(".")[1]) >= lowest}


def _prepare_home() -> None:
    choices = (_ansible_test() / "_internal" / "python_requirements.py").read_text()
    versions = set(re.findall(r"\bpip='([\d.]+)'", choices))
    cached = HOME / ".ansible" / "test" / "cache"
    cached.mkdir(parents=True, exist_ok=True)
    for version in versions:
        (cached / f"get_pip_{version.replace('.', '_')}.py").write_text(BOOTSTRAP.format(version=version))
    settings = Path("~/.config/pip").expanduser()
    if settings.is_dir() and not (HOME / ".config" / "pip").exists():
        shutil.copytree(settings, HOME / ".config" / "pip")


def _ansible_test() -> Path:
    spec = find_spec("ansible_test")
    if spec is None or spec.origin is None:
        raise SystemExit("ansible-core is not installed; make install")
    return Path(spec.origin).parent


if __name__ == "__main__":
    sys.exit(main())
