"""Dictionaries of the Open Bandit Pipeline and of SCOPE-RL, by hand-worked values."""

import dataclasses

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.interop.open_bandit import to_open_bandit_feedback, to_open_bandit_slates
from recsys_po_rl.interop.scope_rl import to_scope_rl
from tests.support.logs import log_of

# User 8 is shown (3, 1), clicks the second, then (2, 4), clicks nothing; user 3 clicks (1, 4)'s first, then (4, 2)'s.
COLUMNS = {
    "user_id": [8, 8, 8, 8, 3, 3, 3, 3],
    "step": [0, 0, 1, 1, 0, 0, 1, 1],
    "slot": [0, 1, 0, 1, 0, 1, 0, 1],
    "item_id": [3, 1, 2, 4, 1, 4, 4, 2],
    "clicked": [False, True, False, False, True, False, True, False],
    "consumed_time": [0, 1.5, 0, 0, 2.0, 0, 0.5, 0],
    "propensity": [0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.4, 0.4],
    "propensity_prefix": [0.5, 0.1, 0.6, 0.2, 0.7, 0.3, 0.8, 0.4],
    "propensity_item": [0.51, 0.11, 0.61, 0.21, 0.71, 0.31, 0.81, 0.41],
    "policy": ["a"] * 8,
}
STATES = [  # of user 3, then user 8: step, documents, times
    [0, 0, 0, 0, 0],
    [1, 0, 1, 0, 2.0],
    [0, 0, 0, 0, 0],
    [1, 0, 1, 0, 1.5],
]


def changed(**columns):
    return log_of({**COLUMNS, **columns})


def rows(count):
    return changed().take(slice(0, count))


def interactions_from_step_0(log):
    return dataclasses.replace(log, step=np.zeros_like(log.step))


def test_each_row_is_a_round_of_bandit_feedback():
    feedback = to_open_bandit_feedback(changed(), history_length=2)
    assert (feedback["n_rounds"], feedback["n_actions"], feedback["action_context"]) == (8, 4, None)
    assert feedback["action"].tolist() == [0, 3, 3, 1, 2, 0, 1, 3]
    assert feedback["position"].tolist() == [0, 1] * 4
    assert feedback["reward"].tolist() == [2.0, 0, 0.5, 0, 0, 1.5, 0, 0]
    assert feedback["pscore"].tolist() == [0.71, 0.31, 0.81, 0.41, 0.51, 0.11, 0.61, 0.21]
    np.testing.assert_array_equal(feedback["context"], np.repeat(STATES, 2, axis=0))


def test_one_slot_is_a_log_of_single_actions():
    feedback = to_open_bandit_feedback(changed(), slot=1, num_docs=9, history_length=2)
    assert (feedback["n_rounds"], feedback["n_actions"]) == (4, 9)
    assert feedback["action"].tolist() == [3, 1, 0, 3]
    assert feedback["position"].tolist() == [0] * 4
    assert feedback["reward"].tolist() == [0, 0, 1.5, 0]
    assert feedback["pscore"].tolist() == [0.31, 0.41, 0.11, 0.21]
    np.testing.assert_array_equal(feedback["context"], STATES)


def test_a_log_may_hold_one_slot_of_each_slate():
    log = changed().take([1, 6])  # of user 8, slot 1; of user 3, slot 0, as its first step
    feedback = to_open_bandit_feedback(interactions_from_step_0(log), history_length=2)
    assert feedback["action"].tolist() == [3, 0]
    assert feedback["position"].tolist() == [0, 1]
    np.testing.assert_array_equal(feedback["context"], np.zeros((2, 5)))


def test_slates_are_slate_feedback():
    feedback = to_open_bandit_slates(changed(), history_length=2)
    assert (feedback["n_rounds"], feedback["n_unique_action"]) == (4, 4)
    assert feedback["slate_id"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert feedback["position"].tolist() == [0, 1] * 4
    assert feedback["action"].tolist() == [0, 3, 3, 1, 2, 0, 1, 3]
    assert feedback["reward"].tolist() == [2.0, 0, 0.5, 0, 0, 1.5, 0, 0]
    assert feedback["pscore"].tolist() == [0.3, 0.3, 0.4, 0.4, 0.1, 0.1, 0.2, 0.2]
    assert feedback["pscore_cascade"].tolist() == [0.7, 0.3, 0.8, 0.4, 0.5, 0.1, 0.6, 0.2]
    assert feedback["pscore_item_position"].tolist() == [0.71, 0.31, 0.81, 0.41, 0.51, 0.11, 0.61, 0.21]
    np.testing.assert_array_equal(feedback["context"], STATES)


def test_propensities_that_are_all_unknown_are_missing():
    log = changed(propensity=[np.nan] * 8, propensity_prefix=[np.nan] * 8)
    feedback = to_open_bandit_slates(log)
    assert {"pscore", "pscore_cascade", "pscore_item_position"} & set(feedback) == {"pscore_item_position"}


def test_ordered_slates_are_actions_of_a_logged_dataset():
    logged = to_scope_rl(changed(), history_length=2, dataset_id=3)
    assert (logged["size"], logged["n_trajectories"], logged["step_per_trajectory"]) == (4, 2, 2)
    assert (logged["action_type"], logged["n_actions"], logged["action_dim"]) == ("discrete", 16, None)
    assert logged["action"].tolist() == [0 * 4 + 3, 3 * 4 + 1, 2 * 4 + 0, 1 * 4 + 3]
    assert np.unravel_index(logged["action"], (4, 4))[1].tolist() == [3, 1, 0, 3]
    assert logged["reward"].tolist() == [2.0, 0.5, 1.5, 0]
    assert logged["done"].tolist() == logged["terminal"].tolist() == [0, 1, 0, 1]
    assert logged["pscore"].tolist() == [0.3, 0.4, 0.1, 0.2]
    assert (logged["behavior_policy"], logged["dataset_id"]) == ("a", 3)
    assert (logged["state_dim"], len(logged["state_keys"])) == (5, 5)
    np.testing.assert_array_equal(logged["state"], STATES)
    assert {name: values.tolist() for name, values in logged["info"].items()} == {
        "user_id": [3, 3, 8, 8], "slate": [[1, 4], [4, 2], [3, 1], [2, 4]], "clicked": [0, 0, 1, 2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_open_bandit_feedback(changed(), slot=2), "slot must be below 2, got 2"),
        (lambda: to_open_bandit_feedback(changed(), slot=-1), "slot must be an integer of at least 0, got -1"),
        (lambda: to_open_bandit_feedback(changed(), num_docs=3), "num_docs must be at least that of the log, 4, got 3"),
        (lambda: to_open_bandit_feedback(changed(propensity_item=[np.nan] * 3 + [0.5] * 5)),
         "propensity_item is unknown in 3 of 8 rows"),
        (lambda: to_open_bandit_slates(rows(7)), "all slots from 0 to 1, and user 3 lacks one at step 1"),
        (lambda: to_open_bandit_slates(rows(3)), "all slots from 0 to 1, and user 8 lacks one at step 1"),
        (lambda: to_scope_rl(rows(6)), "the same number of steps, 2, and user 3 has 1"),
        (lambda: to_scope_rl(changed(policy=["a"] * 4 + ["b"] * 4)), "of one policy, got b, a"),
        (lambda: to_scope_rl(changed(propensity=[np.nan] * 4 + [0.5] * 4)), "propensity is unknown at 2 of 4 steps"),
        (lambda: to_scope_rl(changed(), num_docs=2**32), "slates of 2 of 4294967296 documents must be fewer than 2.63"),
        (lambda: to_scope_rl(changed(), dataset_id=-1), "dataset_id must be an integer of at least 0, got -1"),
    ],
)  # fmt: skip
def test_logs_that_do_not_fit_are_one_line(call, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        call()
