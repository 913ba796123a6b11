"""One seed in the normal run; as many as DBAUDIT_TRUTH_SEEDS says with `make truth`."""

import os

import pytest

SEEDS = int(os.environ.get("DBAUDIT_TRUTH_SEEDS") or 0)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, max(1, SEEDS) + 1), ids="seed-{}".format)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("many_seeds") and not SEEDS:
            item.add_marker(pytest.mark.skip(reason="make truth runs this"))
