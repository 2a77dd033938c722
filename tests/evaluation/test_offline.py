"""Off-policy estimators: values by hand, a slow oracle, enumeration of a tiny world, the Open Bandit Pipeline."""

import itertools
import json
import math
import pathlib

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import offline, offline_slates
from recsys_po_rl.evaluation.offline import LoggedTrajectories
from recsys_po_rl.evaluation.offline_slates import LoggedSlates, SlatePropensities

DATA = pathlib.Path(__file__).parent / "data" / "open_bandit_pipeline.json"
ESTIMATORS = {**offline.IMPORTANCE_SAMPLING_ESTIMATORS, **offline.VALUE_ESTIMATORS}

# Two users, two steps: ratios 2 and 1/2 for the first, 1/2 and 1 for the second; w = (2, 1) and (1/2, 1/2).
BY_HAND = LoggedTrajectories(
    rewards=np.array([[1.0, 4.0], [2.0, 6.0]]),
    target_log_propensities=np.log([[0.5, 0.25], [0.25, 0.5]]),
    behaviour_log_propensities=np.log([[0.25, 0.5], [0.5, 0.5]]),
    action_values=np.array([[5.0, 3.0], [6.0, 5.0]]),
    state_values=np.array([[4.0, 2.0], [7.0, 4.0]]),
)
VALUES_BY_HAND = {
    "importance_sampling": (1.0 * 5.0 + 0.5 * 8.0) / 2.0,
    "weighted_importance_sampling": (1.0 * 5.0 + 0.5 * 8.0) / 1.5,
    "per_decision_importance_sampling": (2.0 * 1.0 + 1.0 * 4.0 + 0.5 * 2.0 + 0.5 * 6.0) / 2.0,
    "weighted_per_decision_importance_sampling": (2.0 * 1.0 + 0.5 * 2.0) / 2.5 + (1.0 * 4.0 + 0.5 * 6.0) / 1.5,
    # First user: 4 + 2 (1 + DR1 - 5) with DR1 = 2 + 1/2 (4 - 3) = 2.5.
    # Second user: 7 + 1/2 (2 + DR1 - 6) with DR1 = 4 + (6 - 5) = 5.
    "doubly_robust": (1.0 + 7.5) / 2.0,
    # Step 0: (2 (1 - 5) + 1/2 (2 - 6)) / 2.5 + (4 + 7) / 2.
    # Step 1: (1 (4 - 3) + 1/2 (6 - 5)) / 1.5 + (2 2 + 1/2 4) / 2.5.
    "weighted_doubly_robust": -10.0 / 2.5 + 11.0 / 2.0 + 1.5 / 1.5 + 6.0 / 2.5,
    "direct_method": 5.5,
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_values_by_hand(name):
    assert ESTIMATORS[name](BY_HAND).value == pytest.approx(VALUES_BY_HAND[name])


def test_effective_sample_sizes_by_hand():
    sizes = {name: ESTIMATORS[name](BY_HAND).effective_sample_size for name in ESTIMATORS}
    first, second = 2.5**2 / 4.25, 1.5**2 / 1.25
    assert sizes["importance_sampling"] == pytest.approx(second)
    assert sizes["per_decision_importance_sampling"] == pytest.approx(min(first, second))
    assert sizes["direct_method"] is None
    np.testing.assert_allclose(offline.effective_sample_size(np.log([[3.0], [1.0]])), [16.0 / 10.0])
    np.testing.assert_array_equal(offline.effective_sample_size(np.full((3, 1), -np.inf)), [0.0])


def random_log(rng, num_users, horizon):
    shape = (num_users, horizon)
    return LoggedTrajectories(
        rewards=rng.gamma(2.0, 1.0, shape),
        target_log_propensities=np.log(rng.uniform(0.05, 1.0, shape)),
        behaviour_log_propensities=np.log(rng.uniform(0.05, 1.0, shape)),
        action_values=rng.normal(size=shape),
        state_values=rng.normal(size=shape),
    )


def slow_estimates(log):
    """All estimates in plain loops, with products instead of logarithms and the recursion of the doubly robust one."""
    num_users, horizon = log.rewards.shape
    ratios = np.exp(log.target_log_propensities) / np.exp(log.behaviour_log_propensities)
    weights = [[math.prod(ratios[user, : step + 1]) for step in range(horizon)] for user in range(num_users)]
    users, steps = range(num_users), range(horizon)
    totals = [sum(log.rewards[user]) for user in users]
    last = [weights[user][-1] for user in users]
    robust = []
    for user in users:
        value = 0.0
        for step in reversed(steps):
            error = log.rewards[user, step] + value - log.action_values[user, step]
            value = log.state_values[user, step] + ratios[user, step] * error
        robust.append(value)
    mean_weights = [sum(weights[user][step] for user in users) / num_users for step in steps]
    weighted_robust = 0.0
    for user, step in itertools.product(users, steps):
        now = weights[user][step] / mean_weights[step]
        before = weights[user][step - 1] / mean_weights[step - 1] if step else 1.0
        error = log.rewards[user, step] - log.action_values[user, step]
        weighted_robust += (now * error + before * log.state_values[user, step]) / num_users
    return {
        "importance_sampling": sum(w * total for w, total in zip(last, totals)) / num_users,
        "weighted_importance_sampling": sum(w * total for w, total in zip(last, totals)) / sum(last),
        "per_decision_importance_sampling": sum(
            weights[user][step] * log.rewards[user, step] for user in users for step in steps
        )
        / num_users,
        "weighted_per_decision_importance_sampling": sum(
            sum(weights[user][step] * log.rewards[user, step] for user in users) / (num_users * mean_weights[step])
            for step in steps
        ),
        "doubly_robust": sum(robust) / num_users,
        "weighted_doubly_robust": weighted_robust,
        "direct_method": sum(log.state_values[user, 0] for user in users) / num_users,
    }


@pytest.mark.parametrize(("num_users", "horizon"), [(1, 1), (1, 4), (3, 1), (2, 3), (5, 2), (17, 7)])
def test_estimates_equal_a_slow_oracle(num_users, horizon):
    log = random_log(np.random.default_rng(num_users * 31 + horizon), num_users, horizon)
    for name, expected in slow_estimates(log).items():
        assert ESTIMATORS[name](log).value == pytest.approx(expected, rel=1e-9), name


def test_contributions_are_the_influence_of_each_user():
    """The contribution less the estimate is the derivative of the estimate by the weight of the user, U times."""
    log = random_log(np.random.default_rng(3), 6, 3)
    step = 1e-6
    for name, estimator in ESTIMATORS.items():
        terms = estimator(log)
        assert terms.contributions.mean() == pytest.approx(terms.value)
        for user in range(6):
            weights = np.ones(6)
            weights[user] += step
            weights /= weights.sum()
            ratios = weights @ terms.numerators
            ratios = ratios if terms.denominators is None else ratios / (weights @ terms.denominators)
            derivative = (ratios.sum() - terms.value) / step
            assert derivative * 6 == pytest.approx(terms.contributions[user] - terms.value, rel=1e-3, abs=1e-4), name


def test_weights_of_long_horizons_stay_finite():
    """400 steps of ratios of 100, or of 1/100: the product is beyond the range of floating-point numbers."""
    num_users, horizon = 3, 400
    rewards = np.arange(num_users * horizon, dtype=float).reshape(num_users, horizon)
    for ratio in (np.log(100.0), -np.log(100.0)):
        target, behaviour = min(ratio, 0.0) - 0.5, min(-ratio, 0.0) - 0.5
        log = LoggedTrajectories(
            rewards, np.full((num_users, horizon), target), np.full((num_users, horizon), behaviour)
        )
        for name in ("weighted_importance_sampling", "weighted_per_decision_importance_sampling"):
            terms = ESTIMATORS[name](log)
            assert terms.value == pytest.approx(rewards.sum(axis=1).mean())
            assert terms.effective_sample_size == pytest.approx(num_users)


def test_slates_that_the_target_never_shows_have_no_weight():
    log = random_log(np.random.default_rng(5), 4, 3)
    target = log.target_log_propensities.copy()
    target[0, 1] = -np.inf
    log = LoggedTrajectories(log.rewards, target, log.behaviour_log_propensities, log.action_values, log.state_values)
    for name, expected in slow_estimates(log).items():
        assert ESTIMATORS[name](log).value == pytest.approx(expected), name
    never = LoggedTrajectories(log.rewards, np.full_like(target, -np.inf), log.behaviour_log_propensities)
    for name, estimator in offline.IMPORTANCE_SAMPLING_ESTIMATORS.items():
        terms = estimator(never)
        assert terms.effective_sample_size == 0.0
        assert np.isnan(terms.value) if name.startswith("weighted") else terms.value == 0.0


def test_values_are_needed_by_the_estimators_that_use_them():
    log = LoggedTrajectories(BY_HAND.rewards, BY_HAND.target_log_propensities, BY_HAND.behaviour_log_propensities)
    for estimator in offline.VALUE_ESTIMATORS.values():
        with pytest.raises(validation.InvalidInputError, match="needs a log with action_values and state_values"):
            estimator(log)


@pytest.mark.parametrize(
    ("field", "values", "says"),
    [
        ("rewards", np.ones(3), "rewards must have shape"),
        ("rewards", np.ones((0, 2)), "rewards must have shape"),
        ("rewards", np.array([[1.0, np.nan], [1.0, 1.0]]), "rewards must be finite"),
        ("target_log_propensities", np.zeros((2, 3)), r"must have the shape \(2, 2\)"),
        ("target_log_propensities", np.full((2, 2), np.nan), "target_log_propensities must be logarithms"),
        ("target_log_propensities", np.full((2, 2), 0.1), "target_log_propensities must be logarithms"),
        ("behaviour_log_propensities", np.full((2, 2), -np.inf), "behaviour_log_propensities must be finite"),
        ("behaviour_log_propensities", np.full((2, 2), 0.1), "behaviour_log_propensities must be logarithms"),
        ("action_values", None, "must both be given, or neither"),
        ("state_values", np.full((2, 2), np.inf), "state_values must be finite"),
    ],
)
def test_invalid_logs_are_refused(field, values, says):
    given = {**BY_HAND.__dict__, field: values}
    with pytest.raises(validation.InvalidInputError, match=says):
        LoggedTrajectories(**given)


# A tiny partially observable world: a hidden type of two, two actions, two steps, a binary reward whose probability
# depends on type, action and the actions before; the second action depends on the first action and reward.

TYPES = np.array([0.3, 0.7])
BEHAVIOUR_FIRST, TARGET_FIRST = np.array([0.5, 0.5]), np.array([0.8, 0.2])
BEHAVIOUR_NEXT = np.array([[[0.4, 0.6], [0.7, 0.3]], [[0.5, 0.5], [0.2, 0.8]]])  # by first action and reward
TARGET_NEXT = np.array([[[0.9, 0.1], [0.6, 0.4]], [[0.3, 0.7], [0.5, 0.5]]])


def chance(kind, action, previous):
    """Probability of the reward 1."""
    return 0.1 + 0.4 * (kind == action) + 0.3 * previous * action


def trajectories(first, following):
    """Yield the observed trajectories (actions, rewards) with their probability, summed over the hidden type."""
    for a0, r0, a1, r1 in itertools.product(range(2), repeat=4):
        of_types = 0.0
        for kind, share in enumerate(TYPES):
            p0, p1 = chance(kind, a0, 0), chance(kind, a1, a0)
            of_types += share * (p0 if r0 else 1.0 - p0) * (p1 if r1 else 1.0 - p1)
        yield (a0, a1), (r0, r1), of_types * first[a0] * following[a0, r0, a1]


def everything_once():
    """The log of all trajectories of the behaviour policy, with arbitrary values, and their probabilities."""
    rng = np.random.default_rng(0)
    action_values = rng.normal(size=(2, 2, 2, 2))  # step 0: [0, 0, 0, a]; step 1: by first action, reward, action
    rewards, target, behaviour, q, v, probabilities = [], [], [], [], [], []
    first_values = action_values[0, 0, :, 0]
    for (a0, a1), (r0, r1), probability in trajectories(BEHAVIOUR_FIRST, BEHAVIOUR_NEXT):
        rewards.append([r0, r1])
        target.append(np.log([TARGET_FIRST[a0], TARGET_NEXT[a0, r0, a1]]))
        behaviour.append(np.log([BEHAVIOUR_FIRST[a0], BEHAVIOUR_NEXT[a0, r0, a1]]))
        of_next = action_values[1, a0, r0]
        q.append([first_values[a0], of_next[a1]])
        v.append([TARGET_FIRST @ first_values, TARGET_NEXT[a0, r0] @ of_next])
        probabilities.append(probability)
    return LoggedTrajectories(*map(np.array, (rewards, target, behaviour, q, v))), np.array(probabilities)


def test_unbiased_estimators_by_exact_enumeration():
    log, probabilities = everything_once()
    assert probabilities.sum() == pytest.approx(1.0)
    value = sum(sum(rewards) * p for _, rewards, p in trajectories(TARGET_FIRST, TARGET_NEXT))
    behaviour_value = sum(sum(rewards) * p for _, rewards, p in trajectories(BEHAVIOUR_FIRST, BEHAVIOUR_NEXT))
    assert abs(value - behaviour_value) > 0.03  # the policies differ
    for name in ("importance_sampling", "per_decision_importance_sampling", "doubly_robust"):
        expectation = probabilities @ ESTIMATORS[name](log).contributions
        assert expectation == pytest.approx(value, abs=1e-12), name


def test_self_normalised_estimators_converge_to_the_value():
    """Ratios of expectations, the limit of ever more users."""
    log, probabilities = everything_once()
    value = sum(sum(rewards) * p for _, rewards, p in trajectories(TARGET_FIRST, TARGET_NEXT))
    for name, estimator in ESTIMATORS.items():
        if name.startswith("weighted"):
            terms = estimator(log)
            limit = ((probabilities @ terms.numerators) / (probabilities @ terms.denominators)).sum()
            assert limit == pytest.approx(value, abs=1e-12), name


def test_exact_values_leave_no_variance_of_the_slates():
    """With exact values of a world without noise, the doubly robust contributions are all equal."""
    actions = np.array(list(itertools.product(range(2), repeat=2)))
    rewards = np.stack([1.0 + actions[:, 0], 2.0 + 3.0 * actions[:, 0] * actions[:, 1]], axis=1)
    target = np.array([0.9, 0.1])
    later = 2.0 + 3.0 * actions[:, 0] * target[1]
    first = 1.0 + np.arange(2) + 2.0 + 3.0 * np.arange(2) * target[1]
    log = LoggedTrajectories(
        rewards,
        np.log(target[actions]),
        np.log(np.full((4, 2), 0.5)),
        action_values=np.stack([first[actions[:, 0]], rewards[:, 1]], axis=1),
        state_values=np.stack([np.full(4, target @ first), later], axis=1),
    )
    np.testing.assert_allclose(offline.doubly_robust(log).contributions, target @ first)


# One-step slates

SLATES_BY_HAND = LoggedSlates(
    rewards=np.array([[1.0, 2.0], [3.0, 0.0]]),
    target=SlatePropensities(prefix=np.log([[0.6, 0.3], [0.2, 0.1]]), item=np.log([[0.6, 0.4], [0.2, 0.6]])),
    behaviour=SlatePropensities(prefix=np.log([[0.3, 0.1], [0.4, 0.2]]), item=np.log([[0.3, 0.2], [0.4, 0.2]])),
)
SLATE_VALUES_BY_HAND = {
    "standard_ips": (3.0 * 3.0 + 0.5 * 3.0) / 2.0,
    "weighted_standard_ips": (3.0 * 3.0 + 0.5 * 3.0) / 3.5,
    "independent_ips": (2.0 * 1.0 + 2.0 * 2.0 + 0.5 * 3.0) / 2.0,
    "weighted_independent_ips": (2.0 * 1.0 + 0.5 * 3.0) / 2.5 + 2.0 * 2.0 / 5.0,
    "reward_interaction_ips": (2.0 * 1.0 + 3.0 * 2.0 + 0.5 * 3.0) / 2.0,
    "weighted_reward_interaction_ips": (2.0 * 1.0 + 0.5 * 3.0) / 2.5 + 3.0 * 2.0 / 3.5,
}


@pytest.mark.parametrize("name", offline_slates.SLATE_ESTIMATORS)
def test_slate_values_by_hand(name):
    value = offline_slates.SLATE_ESTIMATORS[name].terms(SLATES_BY_HAND).value
    assert value == pytest.approx(SLATE_VALUES_BY_HAND[name])


def plackett_luce(scores):
    """All ordered slates of two of the documents with probability, prefix and item propensities."""
    shares = np.exp(scores) / np.exp(scores).sum()
    pairs = list(itertools.permutations(range(len(scores)), 2))
    joint = {pair: shares[pair[0]] * shares[pair[1]] / (1.0 - shares[pair[0]]) for pair in pairs}
    second = [sum(p for pair, p in joint.items() if pair[1] == doc) for doc in range(len(scores))]
    prefix = np.array([[shares[first], joint[first, other]] for first, other in pairs])
    item = np.array([[shares[first], second[other]] for first, other in pairs])
    return np.array(list(joint.values())), SlatePropensities(np.log(prefix), np.log(item)), pairs


@pytest.mark.parametrize("world", ["interacting", "by prefix", "by slot"])
def test_slate_estimators_are_unbiased_under_their_assumption(world):
    probabilities, behaviour, pairs = plackett_luce(np.zeros(4))
    of_target, target, _ = plackett_luce(np.array([0.9, -0.4, 0.2, 0.0]))
    quality = np.array([1.0, 2.0, 4.0, 8.0])
    rewards = []
    for first, second in pairs:
        alone = [quality[first], 0.5 * quality[second]]
        if world != "by slot":
            alone[1] /= quality[first]
        if world == "interacting":
            alone[0] /= quality[second]
        rewards.append(alone)
    slates = LoggedSlates(np.array(rewards), target, behaviour)
    value = of_target @ slates.rewards.sum(axis=1)
    unbiased = {
        "interacting": {"standard_ips"},
        "by prefix": {"standard_ips", "reward_interaction_ips"},
        "by slot": {"standard_ips", "reward_interaction_ips", "independent_ips"},
    }[world]
    for name in ("standard_ips", "reward_interaction_ips", "independent_ips"):
        for prefix in ("", "weighted_"):
            terms = offline_slates.SLATE_ESTIMATORS[f"{prefix}{name}"].terms(slates)
            columns = probabilities @ terms.numerators
            limit = (columns if terms.denominators is None else columns / (probabilities @ terms.denominators)).sum()
            assert (abs(limit - value) < 1e-12) == (name in unbiased), (prefix, name)


@pytest.mark.parametrize("case", range(3))
def test_slate_estimates_equal_the_open_bandit_pipeline(case):
    content = json.loads(DATA.read_text())["slates"][case]
    of = {
        policy: SlatePropensities(np.log(content[f"{policy}_prefix"]), np.log(content[f"{policy}_item"]))
        for policy in ("target", "behaviour")
    }
    slates = LoggedSlates(np.array(content["rewards"]), of["target"], of["behaviour"])
    assert set(content["estimates"]) == set(offline_slates.SLATE_ESTIMATORS)
    for name, expected in content["estimates"].items():
        assert offline_slates.SLATE_ESTIMATORS[name].terms(slates).value == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("case", range(3))
def test_one_step_estimates_equal_the_open_bandit_pipeline(case):
    content = json.loads(DATA.read_text())["actions"][case]
    actions, model, target = (np.array(content[name]) for name in ("actions", "model", "target"))
    users = np.arange(len(actions))
    log = LoggedTrajectories(
        np.array(content["rewards"])[:, np.newaxis],
        np.log(target[users, actions])[:, np.newaxis],
        np.log(np.array(content["behaviour"])[users, actions])[:, np.newaxis],
        model[users, actions][:, np.newaxis],
        (target * model).sum(axis=1)[:, np.newaxis],
    )
    for name, expected in content["estimates"].items():
        assert ESTIMATORS[name](log).value == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize(
    ("field", "change", "says"),
    [
        ("rewards", lambda slates: np.ones(2), "rewards must be finite, of shape"),
        ("rewards", lambda slates: np.full((2, 2), np.nan), "rewards must be finite"),
        ("target", lambda slates: slates.target._replace(item=np.zeros((2, 3))), r"target.item must have the shape"),
        ("target", lambda slates: slates.target._replace(prefix=np.full((2, 2), 0.1)), "target.prefix must be log"),
        ("behaviour", lambda slates: slates.behaviour._replace(item=np.full((2, 2), -np.inf)), "behaviour.item must"),
    ],
)
def test_invalid_slates_are_refused(field, change, says):
    given = {**SLATES_BY_HAND.__dict__, field: change(SLATES_BY_HAND)}
    with pytest.raises(validation.InvalidInputError, match=says):
        LoggedSlates(**given)
