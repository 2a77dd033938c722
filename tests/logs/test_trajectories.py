"""Logs as arrays of users, steps and slots."""

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.logs import trajectories
from recsys_po_rl.logs.interactions import Interactions

# Users 7 and 3, two steps of three slots each. User 3 clicks slot 2 and nothing; user 7 slots 0 and 1.
ITEMS = {3: [[4, 1, 5], [2, 3, 1]], 7: [[1, 2, 3], [5, 4, 2]]}
CLICKS = {3: [2, None], 7: [0, 1]}


def log(change=None):
    rows = []
    for user in (7, 3):
        for step in range(2):
            for slot in range(3):
                clicked = CLICKS[user][step] == slot
                joint = 0.1 * user / (step + 1)
                rows.append(
                    [user, step, slot, ITEMS[user][step][slot], clicked, (user + step) * clicked, joint]
                    + [joint * 3 ** (2 - slot) / 10, 0.01 * (slot + 1)]
                )
    columns = list(zip(*(rows if change is None else change(rows))))
    names = ("user_id", "step", "slot", "item_id", "clicked", "consumed_time")
    names += ("propensity", "propensity_prefix", "propensity_item")
    return Interactions(**{name: np.array(column) for name, column in zip(names, columns)})


def test_rows_in_any_order_become_arrays():
    given = log()
    shuffled = given.take(np.random.default_rng(0).permutation(given.num_rows))
    for rows in (given, shuffled):
        arrays = trajectories.from_interactions(rows)
        np.testing.assert_array_equal(arrays.user_ids, [3, 7])
        np.testing.assert_array_equal(arrays.slates, [ITEMS[3], ITEMS[7]])
        np.testing.assert_array_equal(arrays.choices, [[2, 3], [0, 1]])
        np.testing.assert_array_equal(arrays.consumed_times, [[3.0, 0.0], [7.0, 8.0]])
        np.testing.assert_allclose(arrays.propensities, [[0.3, 0.15], [0.7, 0.35]])
        np.testing.assert_allclose(arrays.prefix_propensities[0, 1], [0.135, 0.045, 0.015])
        np.testing.assert_allclose(arrays.item_propensities[1, 0], [0.01, 0.02, 0.03])


def test_a_horizon_keeps_the_first_steps():
    arrays = trajectories.from_interactions(log(lambda rows: rows[:-3]), horizon=1)  # user 3 lacks its last step
    np.testing.assert_array_equal(arrays.slates, [ITEMS[3][:1], ITEMS[7][:1]])


def test_unknown_propensities_are_nan():
    without = Interactions(**{name: values for name, values in log().present().items() if "prop" not in name})
    arrays = trajectories.from_interactions(without)
    assert np.isnan(arrays.propensities).all()
    assert arrays.item_propensities.shape == (2, 2, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:-1], "must have all slots from 0 to 2, each once"),
        (lambda rows: [*rows[:3], [7, 1, 1, *rows[3][3:]], *rows[4:]], "must have all slots from 0 to 2, each once"),
        (lambda rows: rows[:-3], "every user of the log must have 2 steps, and 1 of 2 users have fewer, the least 1"),
        (lambda rows: [*rows[:9], *([3, 2, *row[2:]] for row in rows[9:])], "all steps from 0 on, each once; user 3"),
        (lambda rows: [*rows, *rows[-3:]], "all slots from 0 to 2|all steps from 0 on, each once"),
        (lambda rows: [*rows[2:-1]], "all steps from 0 on, each once; user 7"),  # slots 0, 1 of one user, 2 of the next
    ],
)
def test_incomplete_logs_are_refused(change, says):
    with pytest.raises(validation.InvalidInputError, match=says) as error:
        trajectories.from_interactions(log(change))
    assert "\n" not in str(error.value)


def test_a_log_without_rows_is_refused():
    with pytest.raises(validation.InvalidInputError, match="the log has no rows"):
        trajectories.from_interactions(log().take(slice(0)))
    with pytest.raises(validation.InvalidInputError, match="horizon must be an integer of at least 1"):
        trajectories.from_interactions(log(), horizon=0)
