"""Records that make no event are counted by their class, whatever a decoder says of them."""

from __future__ import annotations

from typing import Any

import pytest
from dbaudit.core.database import AuditOptions
from dbaudit.engine import Decoded

from tests.agent.conftest import Installation

UNMASKED = AuditOptions(mask_sensitive_data=False)


def test_each_record_left_out_is_counted_once_over_restarts(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["/Ping", "select 1", "/Ping", "/Prepare"]
    dbaudit.unruly.chunk_records = 1
    database = dbaudit.declare(audit_options=UNMASKED)
    end = dbaudit.start()
    dbaudit.wait_until(
        lambda: dbaudit.collector(database).left_out == {"Ping": 2, "Prepare": 1}, "counting them"
    )
    end()
    dbaudit.unruly.source += ["/Ping", "select 2"]
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(database) == ["select 1", "select 2"], "going on")
    assert dbaudit.collector(database).left_out == {"Ping": 3, "Prepare": 1}


def test_records_beside_one_that_cannot_be_decoded_are_counted(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["/Ping", "poison", "/Ping"]
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.collector(database).left_out == {"Ping": 2}, "counting them")
    assert dbaudit.collector(database).rejected_total == 1


def test_declarations_that_share_a_reading_count_alike(dbaudit: Installation) -> None:
    dbaudit.unruly.source = [*["/Ping"] * 5, "select 1"]
    dbaudit.unruly.repeatable = True
    both = [dbaudit.declare(host="one", database=name) for name in ("shop", "hr")]
    dbaudit.start()
    for database in both:
        dbaudit.wait_for_active(database)
        dbaudit.unruly.source += ["/Ping", "/Close stmt"]
    counted = {"Ping": 7, "Close stmt": 2}
    dbaudit.wait_until(
        lambda: [dbaudit.collector(one).left_out for one in both] == [counted] * 2, "counting for both"
    )


@pytest.mark.parametrize(
    "nonsense", [{1: 1}, {"Ping": "many"}, {"Ping": -1}, {"Ping": 1 << 70}, ["Ping"], True]
)
def test_counts_that_are_none_put_the_records_aside(dbaudit: Installation, nonsense: Any) -> None:
    dbaudit.unruly.source = ["select 1", "select 2"]
    dbaudit.unruly.instead["decode"] = lambda: Decoded([], [], nonsense)
    database = dbaudit.declare(audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.collector(database).rejected_total == 2, "putting them aside")
    assert dbaudit.collector(database).left_out == {}
