"""What drivers add of their session is no part of a statement; what a user has under the same names is."""

import json
from typing import Any

import pytest
from dbaudit.engines.mongodb.commands import OF_THE_SESSION, without_session
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.mongodb.records import audited_one, mongo

LSID = {"id": {"$binary": "3q2+7wAAQACAAAAAAAAAAg==", "$type": "04"}}
SIGNED = {"hash": {"$binary": {"base64": "AAA=", "subType": "00"}}, "keyId": {"$numberLong": "0"}}
CLUSTER_TIME = {"clusterTime": {"$timestamp": {"t": 1738577701, "i": 2}}, "signature": SIGNED}
SESSION = {"lsid": LSID, "$clusterTime": CLUSTER_TIME}


@pytest.mark.parametrize(
    "wanted",
    [
        {"a": 1, "lsid": {"x": 1}},
        {"a": 1, "lsid": LSID},
        {"a": 1, "lsid": LSID, "$db": "shop"},
        {"a": 1, "lsid": LSID, "$clusterTime": CLUSTER_TIME, "b": "}"},
        {"a": 1, "$configTime": 1, "$topologyTime": {"t": 1}},
        {"a": ',"lsid":{"id":1},"$db":"shop"}'},
        {"a": '"lsid"', "b": [{"a": 1, "lsid": LSID}]},
        {"a": "{[", "$or": [{"x": 1, "lsid": {"s": "}]"}}]},
    ],
)
@pytest.mark.parametrize(
    "session", [{}, {"lsid": LSID}, SESSION], ids=["no session", "session", "replica set"]
)
def test_key_of_a_users_filter_stays_whatever_it_is_called(
    wanted: dict[str, Any], session: dict[str, Any]
) -> None:
    args = {"find": "t", "filter": wanted, **session, "$db": "shop"}
    for separators in ((",", ":"), (", ", ": ")):
        text = json.dumps(args, separators=separators)
        expected = json.dumps({"find": "t", "filter": wanted, "$db": "shop"}, separators=separators)
        assert without_session(text) == expected
    event = audited_one(mongo("authCheck", {"command": "find", "ns": "shop.t", "args": args}))
    assert json.loads(event.query or "") == {"find": "t", "filter": wanted, "$db": "shop"}


NAMES = st.sampled_from(["a", "find", "$db", '"', "}", "\\", *sorted(OF_THE_SESSION)])
TEXTS = st.text(alphabet='",:{}[]\\lsid$ ', max_size=12)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none() | st.booleans() | st.just(LSID) | st.just(CLUSTER_TIME),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=1000, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.booleans())
def test_fields_of_the_command_itself_go_and_no_other(command: dict[str, Any], spaced: bool) -> None:
    first = {"aggregate": "t"}
    text = json.dumps({**first, **command}, separators=(", ", ": ") if spaced else (",", ":"))
    left = {name: value for name, value in command.items() if name not in OF_THE_SESSION}
    assert json.loads(without_session(text)) == {**first, **left}


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=5), st.integers(0, 200))
def test_beginning_of_a_command_loses_nothing_but_whole_fields_of_the_session(
    command: dict[str, Any], length: int
) -> None:
    whole = json.dumps({"aggregate": "t", **command}, separators=(",", ":"))
    cut = whole[:length]
    shown = without_session(cut)
    if not OF_THE_SESSION & command.keys():
        assert shown == cut
