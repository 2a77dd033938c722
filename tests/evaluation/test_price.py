"""The price of partial observability: worked by hand, paired, pooled over seeds."""

import json

import numpy as np
import pytest

from recsys_po_rl.evaluation import price, results, statistics
from recsys_po_rl.evaluation.evaluator import Outcome

# Five users. What they share is much more than what sets policies apart.
TOTALS = {
    "uniform_random": [10.0, 20.0, 30.0, 40.0, 50.0],
    "learned": [13.0, 22.0, 33.0, 42.0, 55.0],  # 3, 2, 3, 2, 5 more: 3 on average
    "belief_reference": [14.0, 25.0, 33.0, 44.0, 54.0],  # 4, 5, 3, 4, 4: 4
    "learned_full_information": [16.0, 26.0, 35.0, 48.0, 55.0],  # 6, 6, 5, 8, 5: 6
    "full_information_reference": [15.0, 25.0, 36.0, 44.0, 55.0],  # 5, 5, 6, 4, 5: 5
}


def outcomes(*names, **changed):
    chosen = {**{name: TOTALS[name] for name in names or TOTALS}, **changed}
    return {name: Outcome(np.array(total), np.array(total) - 1.0) for name, total in chosen.items()}


def test_worked_by_hand():
    found = price.price_of_partial_observability(outcomes(popular_by_clicks=[1.0] * 5)).to_json()
    assert (found["unit"], found["num_units"]) == ("users", 5)
    assert list(found["policies"]) == list(TOTALS)  # others are ignored
    assert {name: entry["share_of_gap"] for name, entry in found["policies"].items()} == pytest.approx(
        {
            "uniform_random": 0.0,
            "learned": 3 / 5,
            "belief_reference": 4 / 5,
            "learned_full_information": 6 / 5,  # more than the reference: not clipped
            "full_information_reference": 1.0,
        }
    )
    assert [name for name, entry in found["policies"].items() if entry["sees_interest"]] == [
        "learned_full_information",
        "full_information_reference",
    ]
    learned = found["policies"]["learned"]
    assert (learned["mean"], learned["mean_upstream_count"]) == (33.0, 32.0)
    assert found["policies"]["uniform_random"]["share_interval95"] == [0.0, 0.0]
    assert found["policies"]["full_information_reference"]["share_interval95"] == [1.0, 1.0]
    # The gap is 5 in the mean; deviations 0, 0, 1, -1, 0; t of 4 degrees of freedom 2.776445.
    half_width = 2.776445 * np.sqrt(2 / 4 / 5)
    assert found["gap"]["mean"] == 5.0
    assert found["gap"]["interval95"] == pytest.approx([5.0 - half_width, 5.0 + half_width], rel=1e-6)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_shares_and_differences_are_paired():
    found = price.price_of_partial_observability(outcomes()).to_json()
    totals = {name: np.array(total) for name, total in TOTALS.items()}
    gap = totals["full_information_reference"] - totals["uniform_random"]
    for name, total in totals.items():
        expected = statistics.ratio_of_means(total - totals["uniform_random"], gap)
        assert found["policies"][name]["share_interval95"] == pytest.approx([expected.low, expected.high]), name
    assert [(one["of"], one["minus"], one["mean"]) for one in found["differences"]] == [
        ("learned_full_information", "learned", 3.0),
        ("full_information_reference", "belief_reference", 1.0),
        ("belief_reference", "learned", 1.0),
        ("full_information_reference", "learned_full_information", -1.0),
    ]
    for one in found["differences"]:
        expected = statistics.paired_difference(totals[one["of"]], totals[one["minus"]])
        assert one["interval95"] == pytest.approx([expected.low, expected.high])


@pytest.mark.parametrize("missing", ["uniform_random", "full_information_reference"])
def test_without_an_end_of_the_gap_there_are_no_shares(missing):
    names = [name for name in TOTALS if name != missing]
    found = price.price_of_partial_observability(outcomes(*names)).to_json()
    assert found["gap"] is None
    assert list(found["policies"]) == names
    assert all(entry["share_of_gap"] is None for entry in found["policies"].values())
    assert all(entry["share_interval95"] is None for entry in found["policies"].values())


def test_a_gap_of_zero_has_no_shares_and_one_that_may_be_zero_has_no_bounds():
    same = outcomes("uniform_random", "learned", full_information_reference=TOTALS["uniform_random"])
    assert price.price_of_partial_observability(same).policies["learned"].share_of_gap is None
    unclear = outcomes("uniform_random", "learned", full_information_reference=[0.0, 90.0, 0.0, 60.0, 10.0])
    learned = price.price_of_partial_observability(unclear).to_json()["policies"]["learned"]
    assert learned["share_of_gap"] == pytest.approx(3 / 2)
    assert learned["share_interval95"] == [None, None]


def test_nothing_to_compare_is_no_error():
    found = price.price_of_partial_observability({}).to_json()
    assert (found["policies"], found["gap"], found["differences"], found["num_units"]) == ({}, None, [], 0)


def test_policies_on_different_users_are_refused():
    different = outcomes("uniform_random", "learned", full_information_reference=[1.0, 2.0])
    with pytest.raises(ValueError, match="on the same users"):
        price.price_of_partial_observability(different)


def test_over_seeds_the_unit_is_the_seed():
    per_seed = [
        price.price_of_partial_observability(
            outcomes(
                "uniform_random",
                "learned",
                "belief_reference",
                full_information_reference=np.array(TOTALS["uniform_random"]) + gap,
            )
        )
        for gap in (6.0, 7.0, 8.0, 7.0)
    ]
    del per_seed[1].policies["belief_reference"]  # left out in one seed
    found = price.pooled(per_seed).to_json()
    assert (found["unit"], found["num_units"]) == ("seeds", 4)
    assert list(found["policies"]) == ["uniform_random", "learned", "full_information_reference"]
    expected = statistics.ratio_of_means([3.0] * 4, [6.0, 7.0, 8.0, 7.0])
    learned = found["policies"]["learned"]
    assert learned["share_of_gap"] == pytest.approx(3 / 7)
    assert learned["share_interval95"] == pytest.approx([expected.low, expected.high])
    assert learned["mean_upstream_count"] == 32.0
    gap = statistics.mean_interval([6.0, 7.0, 8.0, 7.0])
    assert found["gap"]["interval95"] == pytest.approx([gap.low, gap.high])
    assert found["differences"] == []


def test_one_seed_has_no_intervals():
    found = price.pooled([price.price_of_partial_observability(outcomes())]).to_json()
    assert found["policies"]["learned"]["interval95"] == [None, None]
    assert found["policies"]["learned"]["share_interval95"] == [None, None]
    json.dumps(found, allow_nan=False)


DIAL = {
    "learned_slates": [14.0, 23.0, 35.0, 42.0, 56.0],  # 1, 1, 2, 0, 1 more than learned: 1
    "learned_interest": [15.0, 25.0, 34.0, 46.0, 55.0],  # 2, 3, 1, 4, 0 more than learned: 2
}


def differences_of(found):
    return {(difference.of, difference.minus): difference.mean for difference in found.differences}


def test_the_learned_policy_stands_for_its_position_of_the_dial():
    found = price.price_of_partial_observability(outcomes(**DIAL), "learned_clicks")
    assert found.learned_position == "learned_clicks"
    assert found.policies["learned"].label == found_label("learned_clicks")
    assert differences_of(found) == pytest.approx(
        {
            ("learned_slates", "learned"): 1.0,
            ("learned_interest", "learned"): 2.0,
            ("learned_full_information", "learned_interest"): 1.0,
            ("learned_full_information", "learned"): 3.0,
            ("full_information_reference", "belief_reference"): 1.0,
            ("belief_reference", "learned"): 1.0,
            ("full_information_reference", "learned_full_information"): -1.0,
        }
    )
    pooled = price.pooled([found, found])
    assert (pooled.learned_position, differences_of(pooled)) == ("learned_clicks", differences_of(found))
    assert results.Price.from_json(found.to_json(), "price.") == found


def found_label(name):
    return price.price_of_partial_observability(outcomes(**{name: TOTALS["learned"]})).policies[name].label


def test_a_position_that_is_evaluated_itself_is_not_replaced():
    both = outcomes(**DIAL, learned_clicks=[12.0, 22.0, 33.0, 42.0, 55.0])
    found = differences_of(price.price_of_partial_observability(both, "learned_clicks"))
    assert found["learned_slates", "learned_clicks"] == pytest.approx(1.2)
    assert ("learned_slates", "learned") not in found


@pytest.mark.parametrize(
    ("memory", "position"),
    [
        ((), "learned_clicks"),
        (("slates",), "learned_slates"),
        (("step",), "learned_step"),
        (("step", "slates"), "learned_slates_and_step"),
        (("weather",), None),
    ],
)
def test_a_position_is_that_of_the_memory(memory, position):
    class Recommender:
        pass

    entity = Recommender()
    entity.memory = memory
    assert price.position_of(entity) == position
    assert price.position_of(object()) == "learned_clicks"
    if position is None:  # such a learner stands for itself
        found = price.price_of_partial_observability(outcomes(**DIAL), position)
        assert ("learned_slates", "learned") not in differences_of(found)
        assert found.policies["learned"].label == "learned"
