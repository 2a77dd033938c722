"""Intervals, refusals and fitted values of offline evaluations."""

import math

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import fitted_values, offline, offline_intervals, statistics
from recsys_po_rl.evaluation.offline import LoggedTrajectories, Terms
from recsys_po_rl.evaluation.offline_evaluation import OfflineEstimate, OfflineEvaluation
from recsys_po_rl.evaluation.offline_slates import LoggedSlates, SlatePropensities


def test_interval_on_the_log_scale_by_hand():
    """Contributions 1, 2, 3: standard error 1 / sqrt(3), t quantile 4.302653 of two degrees of freedom."""
    terms = Terms(np.array([[1.0], [2.0], [3.0]]), None, 3.0)
    found = offline_intervals.log_t_interval(terms)
    relative = 4.3026527 / math.sqrt(3.0) / 2.0
    assert found.mean == pytest.approx(2.0)
    assert (found.low, found.high) == pytest.approx((2.0 * math.exp(-relative), 2.0 * math.exp(relative)))


def test_interval_of_an_estimate_below_0_is_on_the_plain_scale():
    contributions = np.array([-1.0, -2.0, -4.5])
    found = offline_intervals.log_t_interval(Terms(contributions[:, np.newaxis], None, 3.0))
    assert found == statistics.mean_interval(contributions)


def test_interval_of_one_user_is_the_whole_line():
    found = offline_intervals.log_t_interval(Terms(np.array([[2.0]]), None, 1.0))
    assert (found.low, found.high) == (-np.inf, np.inf)


def log_of(rng, num_users, log_ratio_scale, horizon=1):
    """Users with rewards that grow with their log-ratios, which average to a weight of 1."""
    ratios = rng.normal(-0.5 * log_ratio_scale**2, log_ratio_scale, (num_users, horizon))
    rewards = 2.0 + rng.gamma(2.0, 0.5, (num_users, horizon)) + 0.3 * ratios
    return LoggedTrajectories(rewards, ratios - 20.0, np.full_like(ratios, -20.0))


@pytest.mark.parametrize("name", ["importance_sampling", "weighted_importance_sampling"])
def test_intervals_cover_where_weights_are_moderate(name):
    """The truth follows from the normal log-ratios: under the target their mean is scale^2 / 2."""
    scale, num_logs = 0.8, 2000
    truth = 3.0 + 0.3 * 0.5 * scale**2
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(num_logs):
        found = offline_intervals.log_t_interval(offline.IMPORTANCE_SAMPLING_ESTIMATORS[name](log_of(rng, 500, scale)))
        covered += found.low <= truth <= found.high
    assert abs(covered / num_logs - 0.95) < 0.02  # four standard errors of the share


def test_results_are_refused_below_the_effective_sample_size():
    log = log_of(np.random.default_rng(1), 400, 1.0)
    size = offline.importance_sampling(log).effective_sample_size
    strict = OfflineEvaluation(min_effective_sample_size=size + 1.0).estimates(log)
    lenient = OfflineEvaluation(min_effective_sample_size=size - 1.0).estimates(log)
    for name, result in strict.items():
        assert (result.value, result.interval95) == (None, None)
        assert result.refused == (
            f"the weights of 400 users are worth {size:.1f} equally weighted users, fewer than {size + 1.0:g} "
            "(OfflineEvaluation.min_effective_sample_size)"
        )
        assert lenient[name].refused is None
        assert lenient[name].interval95[0] < lenient[name].value < lenient[name].interval95[1]
        assert lenient[name].effective_sample_size == pytest.approx(size)


def test_a_target_that_never_shows_the_logs_slates_is_refused():
    log = LoggedTrajectories(np.ones((3, 2)), np.full((3, 2), -np.inf), np.full((3, 2), -1.0))
    for result in OfflineEvaluation(min_effective_sample_size=2.0).estimates(log).values():
        assert result.refused == "the target policy never shows what the log shows: all weights are 0"


def test_weights_beyond_the_range_of_numbers_are_refused():
    log = LoggedTrajectories(np.ones((3, 1)), np.zeros((3, 1)), np.full((3, 1), -1000.0))
    results = OfflineEvaluation(min_effective_sample_size=2.0).estimates(log)
    assert results["importance_sampling"].refused == "the weights are beyond the range of floating-point numbers"
    assert results["weighted_importance_sampling"].value == pytest.approx(1.0)


def test_estimates_with_an_assumption_have_no_interval():
    log = log_of(np.random.default_rng(2), 50, 0.1)
    log = LoggedTrajectories(*list(log.__dict__.values())[:3], np.ones((50, 1)), np.ones((50, 1)))
    same = SlatePropensities(np.full((50, 2), -1.0), np.full((50, 2), -1.0))
    rewards = np.random.default_rng(3).gamma(2.0, 1.0, (50, 2))
    results = OfflineEvaluation(min_effective_sample_size=2.0).estimates(log, LoggedSlates(rewards, same, same))
    assert len(results) == 4 + 3 + 6
    without = {name for name, result in results.items() if result.interval95 is None}
    assert without == {
        "direct_method", "independent_ips", "weighted_independent_ips", "reward_interaction_ips",
        "weighted_reward_interaction_ips",
    }  # fmt: skip
    assert all((results[name].assumption is not None) == (name in without) for name in results)
    assert results["independent_ips"].value == pytest.approx(rewards.sum(axis=1).mean())


def test_results_survive_their_json_form():
    results = OfflineEvaluation(min_effective_sample_size=30.0).estimates(log_of(np.random.default_rng(4), 50, 0.5))
    for result in results.values():
        assert OfflineEstimate.from_json(result.to_json(), "") == result


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"min_effective_sample_size": 1.0}, "min_effective_sample_size must be a finite number of at least 2"),
        ({"min_effective_sample_size": "x"}, "min_effective_sample_size must be a finite number"),
        ({"horizon": 0}, "OfflineEvaluation: horizon must be an integer of at least 1"),
        ({"num_target_slates": -1}, "num_target_slates must be an integer of at least 0"),
    ],
)
def test_bad_settings_are_refused(arguments, says):
    with pytest.raises(validation.InvalidInputError, match=says):
        OfflineEvaluation(**arguments)


# Fitted values


def test_features_by_hand():
    """One user, two steps, slates of two of three documents with one feature; the first step's slot 1 is clicked."""
    documents = np.array([[1.0], [2.0], [5.0]])
    features = fitted_values.slate_features(
        slates=np.array([[[0, 2], [1, 0]]]),
        sampled=np.array([[[[0, 1], [2, 1]]], [[[0, 1], [0, 1]]]]),
        rewards=np.array([[4.0, 0.0]]),
        clicked=np.array([[1, 2]]),
        documents=documents,
    )
    # 1, share of clicks, mean reward, last reward, sum of the slate's feature, its product with the profile, 5.
    np.testing.assert_allclose(features.logged, [[[1, 0, 0, 0, 6, 0], [1, 1, 4, 4, 3, 15]]])
    np.testing.assert_allclose(features.expected, [[[1, 0, 0, 0, 3, 0], [1, 1, 4, 4, 5, 25]]])


def made_features(rng, num_users, horizon):
    logged, expected = np.ones((2, num_users, horizon, 3))
    logged[..., 1:], expected[..., 1:] = rng.normal(size=(2, num_users, horizon, 2))
    return fitted_values.SlateFeatures(logged, expected)


def test_values_of_a_linear_world_are_recovered():
    """Q of the last step is its reward; before, the reward plus the expected Q of the next step, linear by chance."""
    rng = np.random.default_rng(0)
    features = made_features(rng, 400, 2)
    features.expected[:, 1, 1:] = features.logged[:, 0, 1:]  # so that the next value is linear in these features
    last, first = np.array([1.0, 2.0, -1.0]), np.array([0.5, 0.0, 3.0])
    rewards = np.stack([features.logged[:, 0] @ first, features.logged[:, 1] @ last], axis=1)
    values = fitted_values.fitted_values(features, rewards, ridge=1e-9)
    np.testing.assert_allclose(values.action_values[:, 1], rewards[:, 1], atol=1e-6)
    np.testing.assert_allclose(values.state_values[:, 1], features.expected[:, 1] @ last, atol=1e-6)
    np.testing.assert_allclose(values.action_values[:, 0], features.logged[:, 0] @ (first + last), atol=1e-6)
    np.testing.assert_allclose(values.state_values[:, 0], features.expected[:, 0] @ (first + last), atol=1e-6)


def test_values_of_a_user_do_not_depend_on_the_users_own_rewards():
    rng = np.random.default_rng(1)
    features, rewards = made_features(rng, 20, 3), rng.normal(size=(20, 3))
    before = fitted_values.fitted_values(features, rewards)
    changed = rewards.copy()
    changed[7] += 10.0
    after = fitted_values.fitted_values(features, changed)
    moved = (np.abs(after.action_values - before.action_values) > 1e-9).any(axis=1)
    assert not moved[7]
    assert moved.sum() == 10  # the other half


def test_features_that_do_not_vary_are_allowed():
    features = made_features(np.random.default_rng(2), 6, 2)
    features.logged[..., 2] = 0.3
    values = fitted_values.fitted_values(features, np.ones((6, 2)))
    np.testing.assert_allclose(values.action_values, [[2.0, 1.0]] * 6)


def test_document_features():
    documents = {"doc_id": np.array([1, 2]), "doc_quality": np.array([0.5, -1.0]), "doc_features": np.eye(2)}
    np.testing.assert_array_equal(fitted_values.document_features(documents), [[0.5, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert fitted_values.document_features({"doc_id": np.array([1, 2])}).shape == (2, 0)


def test_bad_arguments_of_fitted_values_are_refused():
    features = made_features(np.random.default_rng(0), 1, 2)
    with pytest.raises(validation.InvalidInputError, match="users of a log whose values are fitted must be an integer"):
        fitted_values.fitted_values(features, np.ones((1, 2)))
    features = made_features(np.random.default_rng(0), 2, 2)
    with pytest.raises(validation.InvalidInputError, match="ridge must be a finite number above 0"):
        fitted_values.fitted_values(features, np.ones((2, 2)), ridge=0.0)
