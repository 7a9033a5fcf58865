"""Who makes a plan, as people read it."""

from agent.contract.planners import PLANNERS, planner_told


def test_every_planner_is_told_in_words_and_one_of_a_later_version_as_it_stands() -> None:
    assert all(" " in planner_told(source) for source in PLANNERS)
    assert planner_told("oracle") == "oracle"
