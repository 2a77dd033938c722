"""Episodes of a log, and the observations that are computed from them."""

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.logs import episodes, interactions
from tests.support.logs import log_of

# User 5: three slates of two slots, the second one with an empty slot; clicks in the first and the last. User 2: one.
USERS = {
    "user_id": [5, 5, 5, 5, 5, 2, 2],
    "step": [0, 0, 1, 2, 2, 0, 0],
    "slot": [0, 1, 0, 0, 1, 0, 1],
    "item_id": [4, 1, 2, 3, 4, 1, 2],
    "clicked": [False, True, False, True, False, True, False],
    "consumed_time": [0, 1.5, 0, 0.25, 0, 2.0, 0],
}
PROPENSITIES = {
    "propensity": [0.5, 0.5, 0.25, np.nan, np.nan, 1.0, 1.0],
    "propensity_item": [0.1, 0.2, 0.3, np.nan, np.nan, 0.6, 0.7],
    "policy": ["a", "a", "b", None, None, "a", "a"],
}


def user(number=5):
    log = log_of({**USERS, **PROPENSITIES})
    return log.take(log.user_id == number)


def test_an_episode_has_empty_slots_and_unknown_propensities():
    episode = episodes.episode_of(user(), 2)
    assert episode.user_id == 5
    np.testing.assert_array_equal(episode.slates, [[4, 1], [2, 0], [3, 4]])
    np.testing.assert_array_equal(episode.choices, [1, 2, 0])
    np.testing.assert_array_equal(episode.consumed_times, np.float32([1.5, 0, 0.25]))
    np.testing.assert_array_equal(episode.propensities, [0.5, 0.25, np.nan])
    np.testing.assert_array_equal(episode.item_propensities, [[0.1, 0.2], [0.3, np.nan], [np.nan, np.nan]])
    assert np.isnan(episode.prefix_propensities).all()
    assert episode.policies == ["a", "b", ""]
    np.testing.assert_array_equal(episodes.actions_of(episode), [[3, 0], [1, 1], [2, 3]])


def test_observations_before_and_after_each_slate():
    observed = episodes.observations_of(episodes.episode_of(user(), 2), 2)
    np.testing.assert_array_equal(observed["slate"], [[0, 0], [4, 1], [2, 0], [3, 4]])
    np.testing.assert_array_equal(observed["clicked"], [2, 1, 2, 0])
    np.testing.assert_array_equal(observed["consumed_time"], [[0], [1.5], [0], [0.25]])
    np.testing.assert_array_equal(observed["step"], [0, 1, 2, 3])
    np.testing.assert_array_equal(observed["doc_history"], [[0, 0], [0, 1], [0, 1], [1, 3]])
    np.testing.assert_array_equal(observed["time_history"], [[0, 0], [0, 1.5], [0, 1.5], [1.5, 0.25]])
    assert {name: values.dtype.name for name, values in observed.items()} == {
        "slate": "int64", "clicked": "int64", "consumed_time": "float32", "step": "int64", "doc_history": "int64",
        "time_history": "float32",
    }  # fmt: skip
    states = episodes.states_of(episodes.episode_of(user(), 2), 2)
    np.testing.assert_array_equal(states, [[0, 0, 0, 0, 0], [1, 0, 1, 0, 1.5], [2, 0, 1, 0, 1.5]])
    assert episodes.state_names(2) == ["step", "doc_history_0", "doc_history_1", "time_history_0", "time_history_1"]


@pytest.mark.parametrize("history_length", [1, 3, 9])
def test_histories_equal_a_loop(history_length):
    rng = np.random.default_rng(history_length)
    num_steps = 8
    slates = rng.integers(1, 9, (num_steps, 3))
    choices = rng.integers(0, 4, num_steps)
    times = np.where(choices < 3, rng.random(num_steps), 0).astype(np.float32)
    unknown = np.full((num_steps, 3), np.nan)
    episode = episodes.Episode(0, slates, choices, times, unknown[:, 0], unknown, unknown, [""] * num_steps)
    observed = episodes.observations_of(episode, history_length)
    docs, consumed = [0] * history_length, [0.0] * history_length
    for step in range(num_steps + 1):
        assert observed["doc_history"][step].tolist() == docs
        assert observed["time_history"][step].tolist() == consumed
        if step < num_steps and choices[step] < 3:
            docs = [*docs, int(slates[step, choices[step]])][1:]
            consumed = [*consumed, float(times[step])][1:]


@pytest.mark.parametrize("batch_rows", [1, 2, 4, 7])
def test_a_stream_of_batches_is_split_into_users(batch_rows):
    log = log_of({**USERS, **PROPENSITIES})
    batches = [log.take(slice(first, first + batch_rows)) for first in range(0, log.num_rows, batch_rows)]
    users = list(episodes.by_user([*batches, log.take(slice(0, 0))]))
    assert [rows.user_id.tolist() for rows in users] == [[5] * 5, [2] * 2]
    assert np.concatenate([rows.item_id for rows in users]).tolist() == USERS["item_id"]
    surveyed = episodes.survey(users)
    assert surveyed == episodes.Survey(num_users=2, num_docs=4, slate_size=2, horizon=3, policies=("a", "b"))


def test_slots_in_any_order_are_sorted():
    swapped = user().take([1, 0, 2, 4, 3])
    (rows,) = episodes.by_user([swapped])
    assert rows.slot.tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": [0, 0, 2, 3, 3, 0, 0]}, "an episode needs all steps from 0 on, and user 5 has no step 1"),
        ({"step": [1, 1, 2, 3, 3, 0, 0]}, "user 5 has no step 0"),
        ({"slot": [0, 1, 1, 0, 1, 0, 1]}, "needs slot 0 of every slate, and user 5 has none at step 1"),
        ({"slot": [0, 1, 0, 0, 1, 0, 10_000]}, "slots must be below 10000, and user 2 has 10000"),
        (
            {"user_id": [5, 5, 2, 5, 5, 5, 5], "step": [0, 0, 0, 1, 1, 2, 2]},
            "user 5 returns after other users: load_int",
        ),
    ],
)
def test_incomplete_episodes_are_one_line(change, message):
    log = log_of({**USERS, **change})
    with pytest.raises(validation.InvalidInputError, match=message):
        episodes.survey(episodes.by_user([log]))


def test_a_log_without_rows_is_one_line():
    with pytest.raises(validation.InvalidInputError, match="log: it has no rows"):
        episodes.survey(episodes.by_user([interactions.concatenate([])]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item_id": [4, 1, 0, 3, 4, 1, 2]}, "log: user 5, step 1, slot 0: unknown document"),
        ({"clicked": [True, True, False, True, False, True, False]}, "user 5, step 0, slot 1: second click in a slate"),
        ({"slot": [0, 1, 0, 0, 1, 0, 0]}, "user 2, step 0, slot 0: repeated user, step and slot"),
    ],
)
def test_rows_in_memory_that_cannot_be_right_are_one_line(change, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        episodes.validated(log_of({**USERS, **change}))


def test_columns_of_another_type_are_one_line():
    log = log_of(USERS)
    wrong = interactions.Interactions(**{**log.present(), "item_id": log.item_id.astype(np.float64)})
    with pytest.raises(validation.InvalidTypeError, match=r"item_id must be int32 \[7\], got float64 \[7\]"):
        episodes.validated(wrong)
    assert episodes.validated(log.take(slice(None, None, -1))).user_id.tolist() == [2, 2, 5, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("num_docs", "history_length", "message"),
    [
        (3, 5, "num_docs must be at least that of the log, 4, got 3"),
        (0, 5, "num_docs must be an integer of at least 1, got 0"),
        (None, 0, "history_length must be an integer of at least 1, got 0"),
        (None, 10_001, "history_length must be at most 10000, got 10001"),
    ],
)
def test_sizes_out_of_bounds_are_one_line(num_docs, history_length, message):
    surveyed = episodes.survey(episodes.by_user([log_of(USERS)]))
    assert episodes.checked_sizes(surveyed, None, 5) == (4, 5)
    with pytest.raises(validation.InvalidInputError, match=message):
        episodes.checked_sizes(surveyed, num_docs, history_length)
