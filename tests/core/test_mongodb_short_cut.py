"""The searches that mask plain commands of MongoDB, held against the look at every token."""

import json

from dbaudit.core.dialects import mongodb
from hypothesis import given, settings
from hypothesis import strategies as st

TEXTS = st.text(alphabet='ab5:,[]{}"\\ é?$', max_size=6)
KEYS = st.one_of(st.sampled_from(["find", "$db", "$oid", "$date", "k:", "x,", "x["]), TEXTS)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
COMMANDS = st.builds(
    lambda name, of, fields, database: {name: of, **fields, "$db": database},
    st.sampled_from(["find", "insert", "getMore", "ping"]),
    st.one_of(st.integers(), TEXTS),
    st.dictionaries(KEYS, VALUES, max_size=3),
    TEXTS,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": ")])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(COMMANDS, SEPARATORS, st.booleans()), min_size=1, max_size=3))
def test_the_short_cut_masks_commands_as_the_look_at_every_token_does(commands: list[tuple]) -> None:
    texts = [json.dumps(c, ensure_ascii=a, separators=s) for c, s, a in commands]
    masked = mongodb.mask_joined("\0".join(texts)).split("\0")
    assert masked == [mongodb._mask_lexically(text) for text in texts]


@settings(max_examples=100, deadline=None)
@given(COMMANDS, st.integers(0, 200))
def test_a_command_that_is_cut_off_shows_no_more_than_by_the_look_at_every_token(
    command: dict[str, object], kept: int
) -> None:
    text = json.dumps(command, separators=(",", ":"))[:kept]
    short, slow = mongodb.mask_joined(text), mongodb._mask_lexically(text)
    assert short == slow or len(short) < len(slow)
