"""Tests of the choice of the best policy, with rewards given instead of simulated."""

import json
import types

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl.experiment.selection import BestPolicySelector, is_validated


def toy_network():
    recommender = types.SimpleNamespace(variables=[tf.Variable([0.0, 0.0])])
    return types.SimpleNamespace(recommender=recommender)


@pytest.fixture
def make_selector(monkeypatch):
    """Return a constructor of selectors whose policy's reward is its first weight."""
    monkeypatch.setattr(
        BestPolicySelector,
        "outcome",
        lambda self, weights: types.SimpleNamespace(total=weights[0][0] + np.array([-1.0, 0.0, 1.0]), behaviour=None),
    )
    config = types.SimpleNamespace(validate_every_steps=2, num_training_steps=11)
    return lambda: BestPolicySelector(config, 0, toy_network(), toy_network(), None)


def validate(selector, rewards, first_step):
    """Validate policies of these rewards, at every second step; return whether each was the best so far."""
    improved = []
    for number, reward in enumerate(rewards):
        selector._trained.recommender.variables[0].assign([reward, 0.5])
        improved.append(selector.validate(first_step + 2 * number).improved)
    return improved


def test_the_first_of_the_highest_rewards_is_chosen(make_selector):
    selector = make_selector()
    assert selector.best is None
    assert validate(selector, [3.0, 5.0, 4.0, 5.0, 2.0], 2) == [True, True, False, False, False]
    assert (selector.best.mean_reward, selector.best.step) == (5.0, 4)
    np.testing.assert_array_equal(selector.best.weights[0], [5.0, 0.5])  # a copy: training moves the variable on


@pytest.mark.parametrize("before", range(6))
def test_a_resumed_selection_equals_an_uninterrupted_one(make_selector, before):
    rewards = [3.0, 5.0, 4.0, 6.0, 2.0, 5.5]
    whole = make_selector()
    expected = validate(whole, rewards, 2)
    interrupted, resumed = make_selector(), make_selector()
    improved = validate(interrupted, rewards[:before], 2)
    weights = [] if interrupted.best is None else interrupted.best.weights
    resumed.restore(json.loads(json.dumps(interrupted.state())), weights)
    improved += validate(resumed, rewards[before:], 2 + 2 * before)
    assert improved == expected
    assert resumed.state() == whole.state() == {"best_mean_reward": 6.0, "best_step": 8}


def test_the_last_step_is_always_validated():
    config = types.SimpleNamespace(validate_every_steps=4, num_training_steps=10)
    assert [step for step in range(1, 11) if is_validated(config, step)] == [4, 8, 10]
    assert not is_validated(types.SimpleNamespace(validate_every_steps=0, num_training_steps=10), 10)
