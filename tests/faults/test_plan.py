"""What is promised of the whole suite."""

from tests.faults import plan
from tests.faults.steps import Step


def test_suite_kills_at_least_two_hundred_times() -> None:
    at_steps = plan.STEPS_OF_AGENT_ON_SQLITE + plan.STEPS_OF_AGENT_ON_POSTGRESQL + plan.STEPS_OF_SERVER
    at_random = (
        plan.RANDOM_OF_AGENT
        + plan.RANDOM_OF_SERVER
        + plan.RANDOM_OF_STATE_SERVER
        + plan.RANDOM_OF_API
        + plan.CHILDREN_OF_UP
    )
    assert at_steps * len(Step) + at_random >= 200
