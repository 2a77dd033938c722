"""Measures of behaviour: worked by hand, against a slow oracle, and without the fields they need."""

import itertools

import numpy as np
import pytest
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.evaluation import behaviour, statistics

# A world of seven documents, three users, slates of two. T = 5 responses: quarters of 2, 1, 1, 1.
QUALITY = np.array([np.nan, -1.0, 0.5, -0.25, 1.0, -0.5, 0.25, 0.0], np.float32)  # by id, from 1
TOPIC = np.array([-1, 0, 1, 0, 2, 1, 2, 0], np.int32)
SLATES = np.array(
    [
        [[1, 2], [3, 4], [1, 3]],
        [[2, 5], [1, 2], [4, 6]],
        [[4, 7], [5, 2], [1, 3]],
        [[1, 3], [1, 3], [1, 3]],
        [[6, 4], [6, 4], [2, 7]],
        [[7, 6], [7, 6], [7, 6]],  # shown after the last response that counts
    ],
    np.int32,
)
CHOICE = np.array([[0, 2, 1], [2, 2, 0], [1, 2, 2], [2, 2, 2], [0, 2, 1], [0, 0, 0]], np.int32)
REWARD = np.array(  # of step t: what the response of step t - 1 brought
    [[100, 100, 100], [1, 0, 0.5], [0, 0, 0.5], [2, 0, 0], [0, 0, 0], [4, 0, 2]], np.float32
)
DISTANCE = np.array([[0, 0, 0], [5, 0, 1], [10, 0, 1], [15, 0, 1], [20, 0, 1], [999, 999, 999]], np.float32)


def trajectory(choice, reward, ids, topics, qualities, interest, available):
    return {
        fields.METRICS_STATE: Value(**{fields.REWARD: reward}),
        fields.USER_RESPONSE: Value(**{fields.CHOICE: choice}),
        fields.USER_STATE: Value(**{fields.INTEREST: interest}),
        fields.AVAILABLE_DOCS: Value(**{fields.DOC_ID: available}),
        fields.SLATE_DOCS: Value(
            **{fields.DOC_ID: ids, fields.DOC_TOPIC: topics, fields.DOC_QUALITY: qualities}
        ),
    }  # fmt: skip


@pytest.fixture
def by_hand():
    first = np.array([[1, 2, 0, 0], [1, 1, 1, 1], [0, -1, 0, 5]], np.float32)
    interest = first + DISTANCE[..., np.newaxis] * np.array([0.6, 0.8, 0.0, 0.0], np.float32)
    available = np.tile(np.arange(1, 8, dtype=np.int32), (6, 1))
    return trajectory(CHOICE, REWARD, SLATES, TOPIC[SLATES], QUALITY[SLATES], interest, available)


def collected(horizon, *batches):
    collector = behaviour.Collector(horizon)
    for batch, num_users in batches:
        collector.add(batch, num_users)
    return collector.result()


EXPECTED = {
    # Responses 0 and 1: (1 + 0 + 0.5 + 0 + 0 + 0.5) / 6; then 2 / 3, 0, (4 + 2) / 3.
    "reward_per_step": [2 / 6, 2 / 3, 0.0, 6 / 3],
    "click_rate": [3 / 6, 1 / 3, 0.0, 2 / 3],
    # Documents 1, 3, 4; then 7; none; 6 and 7.
    "mean_quality_consumed": [(-1.0 - 0.25 + 1.0) / 3, 0.0, None, (0.25 + 0.0) / 2],
    "share_positive_quality": [1 / 3, 0.0, None, 1 / 2],
    "interest_drift": [(0 + 0 + 0 + 5 + 0 + 1) / 6, 11 / 3, 16 / 3, 21 / 3],
    "catalogue_coverage": [6 / 7, 6 / 7, 2 / 7, 4 / 7],
    "slate_diversity": [3 / 6, 1 / 3, 0.0, 1 / 3],
}


def test_worked_by_hand(by_hand):
    found = collected(5, (by_hand, 3)).summary()["quarters"]
    assert found.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        assert found[name] == pytest.approx(expected, abs=1e-6), name


def test_of_a_batch_only_the_first_users_count(by_hand):
    found = collected(5, (by_hand, 1)).summary()["quarters"]
    assert found["reward_per_step"] == [0.5, 2.0, 0.0, 4.0]
    assert found["catalogue_coverage"] == pytest.approx([3 / 7, 2 / 7, 2 / 7, 2 / 7])
    assert found["slate_diversity"] == [0.5, 1.0, 0.0, 0.0]
    assert found["interest_drift"] == pytest.approx([2.5, 10.0, 15.0, 20.0], rel=1e-6)


def test_intervals_are_over_users(by_hand):
    found = collected(5, (by_hand, 3)).summary()["quarters_interval95"]
    assert set(found) == set(EXPECTED) - {"catalogue_coverage", "slate_diversity"}
    # Last quarter: rewards 4, 0, 2 of the three users; clicks 1, 0, 1 on qualities 0.25, -, 0.
    estimate = statistics.mean_interval([4.0, 0.0, 2.0])
    assert found["reward_per_step"][3] == pytest.approx([estimate.low, estimate.high])
    estimate = statistics.mean_interval([1.0, 0.0, 1.0])
    assert found["click_rate"][3] == pytest.approx([estimate.low, estimate.high])
    assert found["mean_quality_consumed"][2] is None
    assert found["mean_quality_consumed"][3] == [None, None]  # three users, two clicks: nothing is known
    everyone = collected(5, *[(by_hand, 3)] * 30).summary()["quarters_interval95"]
    ratio = statistics.ratio_of_means([0.25, 0.0, 0.0] * 30, [1.0, 0.0, 1.0] * 30)
    assert everyone["mean_quality_consumed"][3] == pytest.approx([ratio.low, ratio.high])
    ratio = statistics.ratio_of_means([1.0, 0.0, 0.0] * 30, [1.0, 0.0, 1.0] * 30)
    assert everyone["share_positive_quality"][3] == pytest.approx([ratio.low, ratio.high])


@pytest.mark.parametrize(
    ("horizon", "lengths"), [(1, [1, 0, 0, 0]), (3, [1, 1, 1, 0]), (4, [1] * 4), (7, [2, 2, 2, 1]), (100, [25] * 4)]
)
def test_quarters_are_as_equal_as_possible_the_longer_first(horizon, lengths):
    collector = behaviour.Collector(horizon)
    collector.add({fields.METRICS_STATE: Value(**{fields.REWARD: np.ones((horizon + 1, 2))})}, 2)
    found = collector.result()
    assert found.steps.tolist() == lengths
    assert found.reward.tolist() == [lengths] * 2
    expected = [1.0 if length else None for length in lengths]
    assert found.summary()["quarters"]["reward_per_step"] == expected


def test_with_fewer_than_four_responses_the_last_quarters_are_empty(by_hand):
    short = {name: val.map(lambda field: field[:3]) for name, val in by_hand.items()}
    found = collected(2, (short, 3)).summary()
    for of in found["quarters"].values():
        assert None not in of[:1]
        assert of[2:] == [None, None]
    assert found["quarters_interval95"]["interest_drift"][2:] == [None, None]


@pytest.mark.parametrize(
    ("variable", "field", "lost"),
    [
        (fields.USER_STATE, fields.INTEREST, {"interest_drift"}),
        (fields.USER_RESPONSE, fields.CHOICE, {"click_rate", "mean_quality_consumed", "share_positive_quality"}),
        (fields.AVAILABLE_DOCS, fields.DOC_ID, {"catalogue_coverage"}),
        (fields.SLATE_DOCS, fields.DOC_ID, {"catalogue_coverage"}),
        (fields.SLATE_DOCS, fields.DOC_TOPIC, {"slate_diversity"}),
        (fields.SLATE_DOCS, fields.DOC_QUALITY, {"mean_quality_consumed", "share_positive_quality"}),
        (fields.SLATE_DOCS, None, set(EXPECTED) - {"reward_per_step", "interest_drift"}),
    ],
)
def test_a_measure_without_its_fields_is_none_and_the_others_stay(by_hand, variable, field, lost):
    whole = collected(5, (by_hand, 3)).summary()["quarters"]
    kept = {} if field is None else {name: of for name, of in by_hand[variable].as_dict.items() if name != field}
    without = {name: val for name, val in by_hand.items() if name != variable}
    if kept:
        without[variable] = Value(**kept)
    found = collected(5, (without, 3)).summary()
    assert {name for name, of in found["quarters"].items() if of is None} == lost
    assert {name: of for name, of in found["quarters"].items() if name not in lost} == {
        name: of for name, of in whole.items() if name not in lost
    }
    for name in lost & found["quarters_interval95"].keys():
        assert found["quarters_interval95"][name] is None


def test_a_choice_of_another_form_is_no_choice(by_hand):
    by_hand[fields.USER_RESPONSE] = Value(**{fields.CHOICE: np.stack([CHOICE, CHOICE], axis=-1)})
    assert collected(5, (by_hand, 3)).clicks is None


def test_slates_of_one_document_have_no_pairs(by_hand):
    by_hand[fields.SLATE_DOCS] = by_hand[fields.SLATE_DOCS].map(lambda field: field[..., :1])
    found = collected(5, (by_hand, 3))
    assert found.slate_diversity is None
    assert found.clicks.sum(axis=0).tolist() == [2.0, 0.0, 0.0, 1.0]  # places 1 and 2 are now beyond the slate


def test_coverage_counts_the_first_users_only(by_hand, monkeypatch):
    monkeypatch.setattr(behaviour, "COVERAGE_USERS", 4)
    shifted = dict(by_hand)
    shifted[fields.SLATE_DOCS] = Value(**{**by_hand[fields.SLATE_DOCS].as_dict, fields.DOC_ID: SLATES % 7 + 1})
    found = collected(5, (by_hand, 3), (shifted, 3), (shifted, 3)).catalogue_coverage
    # Of the second batch one user counts: its slates are [2, 3] and [3, 6], then [5, 1], [2, 4] and [7, 5].
    assert found == pytest.approx([6 / 7, 6 / 7, 4 / 7, 5 / 7 + 0.0])


def test_coverage_of_a_corpus_that_changes_is_of_all_that_was_on_offer(by_hand):
    available = by_hand[fields.AVAILABLE_DOCS].get(fields.DOC_ID).copy()
    available[1] += 7  # in the second step seven other documents
    by_hand[fields.AVAILABLE_DOCS] = Value(**{fields.DOC_ID: available})
    found = collected(5, (by_hand, 3)).catalogue_coverage
    assert found == pytest.approx([6 / 14, 6 / 7, 2 / 7, 4 / 7])


def oracle(horizon, of):
    """Slowly, with loops; users of all batches on the second axis."""
    users, size = of["ids"].shape[1:]
    bounds = np.cumsum([0] + [len(part) for part in np.array_split(np.arange(horizon), 4)])
    found = {name: [] for name in EXPECTED}
    for first, end in itertools.pairwise(bounds):
        cells = {name: [] for name in EXPECTED}
        shown, there = set(), set()
        for step in range(first, end):
            there.update(of["available"][step])
            for user in range(users):
                cells["reward_per_step"].append(of["reward"][step + 1, user])
                place = of["choice"][step, user]
                cells["click_rate"].append(float(place < size))
                if place < size:
                    cells["mean_quality_consumed"].append(of["qualities"][step, user, place])
                    cells["share_positive_quality"].append(float(of["qualities"][step, user, place] > 0))
                cells["interest_drift"].append(
                    np.linalg.norm(of["interest"][step, user].astype(np.float64) - of["interest"][0, user])
                )
                shown.update(of["ids"][step, user])
                for one in range(size):
                    for other in range(one):
                        topics = of["topics"][step, user]
                        cells["slate_diversity"].append(float(topics[one] != topics[other]))
        for name, values in cells.items():
            found[name].append(np.mean(values) if values else None)
        found["catalogue_coverage"][-1] = len(shown) / len(there) if there else None
    return {name: None if name == "slate_diversity" and size == 1 else of for name, of in found.items()}


@pytest.mark.parametrize(("horizon", "users", "size"), [(1, 3, 2), (3, 4, 1), (6, 5, 2), (9, 2, 4), (13, 7, 3)])
def test_equals_a_slow_oracle_in_any_batches(horizon, users, size):
    rng = np.random.default_rng(horizon)
    steps, documents, dimensions = horizon + 1, 11, 6
    ids = np.stack([[rng.permutation(documents)[:size] + 1 for _ in range(3 * users)] for _ in range(steps)])
    of = dict(
        ids=ids.astype(np.int32),
        topics=(ids % 3).astype(np.int32),
        qualities=rng.normal(size=ids.shape).astype(np.float32),
        choice=rng.integers(size + 1, size=(steps, 3 * users)).astype(np.int32),
        reward=rng.exponential(size=(steps, 3 * users)).astype(np.float32),
        interest=rng.normal(size=(steps, 3 * users, dimensions)).astype(np.float32),
        available=np.tile(np.arange(1, documents + 1), (steps, 1)),
    )

    def batch(first):
        chosen = {name: array if name == "available" else array[:, first : first + users] for name, array in of.items()}
        return trajectory(**chosen), users

    found = collected(horizon, batch(0), batch(users), batch(2 * users)).summary()["quarters"]
    for name, expected in oracle(horizon, of).items():
        if expected is not None:
            assert [number is None for number in found[name]] == [number is None for number in expected], name
            expected = [None if number is None else pytest.approx(number, rel=1e-5, abs=1e-6) for number in expected]
        assert found[name] == expected, name
