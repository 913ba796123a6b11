"""The client's own truth against the events, on live servers, under random work.

Each engine has one file here, ``test_ENGINE.py``. Its clients run random work against a real server and note,
statement by statement, what they did and what the server answered: a list of ``Fact`` (facts.py), in the
order of each user. ``collected`` (collecting.py) reads the server's records in chunks of random sizes, and
decodes and protects them as an agent does. ``differences`` compares the two and names what is missing, what
is there twice, what has the wrong outcome, and what is pinned on another statement or user; the test asserts
that there is nothing:

    facts = [fact for client in clients for fact in client.facts]
    assert differences(facts, collected(monitored, begin, chance, until)) == []

A client that logs in has a user of its own, because the facts of a user are compared with the events of that
user; a user's sessions follow each other. A test with a parameter ``seed`` gets 1, or 1 to N where the
environment variable DBAUDIT_TRUTH_SEEDS is N (`make truth SEEDS=20`, which also runs the tests that are
marked ``many_seeds``: what the normal run has no time for). Random choices come from ``random.Random(seed)``.
"""
