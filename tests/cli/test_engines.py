"""`dbaudit engines`: what can be monitored, and which plugin is broken, without any API."""

import json
from importlib.metadata import version
from pathlib import Path

import dbaudit as distribution

from tests.cli.running import dbaudit

PLUGIN = """
from dbaudit.engine import hookimpl

class Old:
    pass

@hookimpl
def dbaudit_engines():
    raise RuntimeError("the wrong moon")
    yield Old()
"""


def test_every_engine_comes_with_its_distribution_versions_and_driver() -> None:
    found = json.loads(dbaudit("engines", "--output", "json").stdout)
    engines = {engine["type"]: engine for engine in found["engines"]}
    postgresql = engines["postgresql"]
    assert postgresql["distribution"] == "dbaudit"
    assert postgresql["distribution_version"] == distribution.__version__
    assert postgresql["api_version"] == 1
    assert postgresql["supported_versions"] == [str(major) for major in range(11, 19)]
    assert postgresql["driver"]["name"] == "psycopg"
    assert postgresql["driver"]["version"]
    assert postgresql["options_schema"]["type"] == "object"
    for engine, driver in (("mysql", "PyMySQL"), ("mariadb", "PyMySQL"), ("mongodb", "pymongo")):
        assert engines[engine]["driver"] == {"name": driver, "version": version(driver), "problem": None}
    table = dbaudit("engines")
    assert table.returncode == 0
    assert "postgresql" in table.stdout
    assert "11, 12, 13, 14, 15, 16, 17, 18" in table.stdout


def test_a_broken_plugin_is_listed_with_its_distribution_and_reason_beside_the_sound_ones(
    tmp_path: Path,
) -> None:
    metadata = tmp_path / "moon_engine-4.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: moon-engine\nVersion: 4.2\n")
    (metadata / "entry_points.txt").write_text("[dbaudit]\nmoon = moon_engine\n")
    (tmp_path / "moon_engine.py").write_text(PLUGIN)
    found = json.loads(dbaudit("engines", "--output", "json", PYTHONPATH=str(tmp_path)).stdout)
    assert "postgresql" in [engine["type"] for engine in found["engines"]]
    (broken,) = found["broken"]
    assert (broken["name"], broken["distribution"], broken["distribution_version"]) == (
        "moon",
        "moon-engine",
        "4.2",
    )
    assert "the wrong moon" in broken["reason"]
    table = dbaudit("engines", PYTHONPATH=str(tmp_path))
    assert table.returncode == 0
    assert "moon-engine 4.2" in table.stdout
    assert "the wrong moon" in table.stdout
    assert "the wrong moon" not in table.stderr
