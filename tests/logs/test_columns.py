"""Column maps, on small tables of the columns of public data sets."""

import gin
import numpy as np
import pytest

from recsys_po_rl.common.validation import InvalidInputError, InvalidTypeError
from recsys_po_rl.logs import columns, interactions, step_counting
from recsys_po_rl.logs.columns import ColumnMap
from tests.support.logs import opened


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_movielens(tmp_path, suffix):
    table = {
        "userId": [1, 1, 1, 7, 7],
        "movieId": [31, 1029, 10, 10, 31],
        "rating": [2.5, 3.0, 4.0, 5.0, 0.5],
        "timestamp": [1260759179, 1260759144, 1260759200, 835355664, 835355493],
    }
    log_file = opened(tmp_path, table, columns.movielens_columns(), suffix)
    log = log_file.load()
    assert log_file.item_ids == [10, 31, 1029]
    assert log.user_id.tolist() == [1, 1, 1, 7, 7]
    assert log.step.tolist() == [0, 1, 2, 0, 1]
    assert log.slot.tolist() == [0] * 5
    assert [log_file.item_ids[i - 1] for i in log.item_id] == [1029, 31, 10, 31, 10]
    assert log.clicked.all()
    assert log.consumed_time.tolist() == [3.0, 2.5, 4.0, 0.5, 5.0]
    assert log.propensity is None


def test_kuairand(tmp_path):
    table = {
        "user_id": [0, 1, 0],
        "video_id": [3784, 3784, 6],
        "date": [20220408] * 3,
        "hourmin": [400, 400, 500],
        "time_ms": [1649363627063, 1649363627000, 1649363628000],
        "is_click": [1, 0, 0],
        "is_like": [0] * 3,
        "long_view": [0] * 3,
        "play_time_ms": [1500, 250, 0],
        "duration_ms": [6000] * 3,
        "is_rand": [0] * 3,
        "tab": [1] * 3,
    }
    log_file = opened(tmp_path, table, columns.kuairand_columns())
    log = log_file.load()
    assert log_file.item_ids == [6, 3784]
    assert log.user_id.tolist() == [0, 0, 1]
    assert log.step.tolist() == [0, 1, 0]
    assert log.item_id.tolist() == [2, 1, 2]
    assert log.clicked.tolist() == [True, False, False]
    assert log.consumed_time.tolist() == [1.5, 0, 0]


def test_kuairec(tmp_path):
    table = {
        "user_id": [14, 14, 14],
        "video_id": [148, 183, 3649],
        "play_duration": [4381, 0, 22635],
        "video_duration": [6067, 6100, 10867],
        "time": ["2020-07-05 05:27:48.378"] * 3,
        "date": [20200705] * 3,
        "timestamp": [1593898068.378, 1593898068.0, 1593898135.0],
        "watch_ratio": [0.722103, 0.0, 2.082912],
    }
    log = opened(tmp_path, table, columns.kuairec_columns()).load()
    assert log.step.tolist() == [0, 1, 2]
    assert log.item_id.tolist() == [2, 1, 3]
    assert log.clicked.tolist() == [False, True, True]
    np.testing.assert_array_equal(log.consumed_time, np.float32([0, 4.381, 22.635]))
    with gin.unlock_config():
        gin.parse_config("recsys_po_rl.ColumnMap.click_above = 1.0")
        log = opened(tmp_path, table, columns.kuairec_columns()).load()
        gin.clear_config()
    assert log.clicked.tolist() == [False, False, True]


def test_open_bandit(tmp_path):
    table = {
        "": [0, 1, 2],
        "timestamp": ["2019-11-24 00:00:00.004101+00:00"] * 3,
        "item_id": [79, 14, 18],
        "position": [2, 1, 3],
        "click": [0, 1, 0],
        "propensity_score": [0.0125, 0.0125, 1.0],
        "user_feature_0": ["81ce123cbb5bd8ce818f60fb3586bba5"] * 3,
        "user-item_affinity_0": [0.0] * 3,
    }
    log_file = opened(tmp_path, table, columns.open_bandit_columns())
    log = log_file.load()
    assert log_file.num_users == 3
    assert log_file.item_ids == [14, 18, 79]
    assert log.user_id.tolist() == [0, 1, 2]
    assert log.step.tolist() == [0, 0, 0]
    assert log.slot.tolist() == [1, 0, 2]
    assert log.item_id.tolist() == [3, 1, 2]
    assert log.clicked.tolist() == [False, True, False]
    assert log.consumed_time.tolist() == [0, 1, 0]
    assert log.propensity_item.tolist() == [0.0125, 0.0125, 1.0]


SHOP = {
    "customer": ["zoe", "zoe", "adam", "zoe", "adam"],
    "product": ["b", "a", "b", "7", "07"],
    "place": [1, 2, 1, 1, 1],
    "bought": [0, 1, 0, 0, 1],
    "when": ["2026-01-01T10:00:00", "2026-01-01T10:00:00", "2026-01-01", "2026-01-02T00:00:00", "2026-01-01T00:00:01"],
}
SHOP_MAP = {
    "user_id": "customer", "item_id": "product", "slot": "place", "clicked": "bought", "timestamp": "when",
    "step": None, "consumed_time": None, "first_slot": 1, "user_table": True, "item_table": "first_appearance",
}  # fmt: skip


def test_slates_by_time_of_users_and_items_with_names(tmp_path):
    log_file = opened(tmp_path, SHOP, ColumnMap(**SHOP_MAP), batch_rows=2)
    log = log_file.load()
    assert log_file.user_ids == ["zoe", "adam"]
    assert log_file.item_ids == ["b", "a", 7, "07"]
    assert log.user_id.tolist() == [0, 0, 0, 1, 1]
    assert log.step.tolist() == [0, 0, 1, 0, 1]
    assert log.slot.tolist() == [0, 1, 0, 0, 0]
    assert log.item_id.tolist() == [1, 2, 3, 1, 4]
    assert log.consumed_time.tolist() == [0, 1, 0, 0, 1]


def test_items_of_a_given_table(tmp_path):
    map_ = ColumnMap(**SHOP_MAP)
    log = opened(tmp_path, SHOP, map_, item_ids=["x", "07", "b", "a", 7]).load()
    assert log.item_id.tolist() == [3, 4, 5, 3, 2]
    with pytest.raises(InvalidInputError, match=r"1 x unknown document; first: .* row 4: unknown document"):
        opened(tmp_path, SHOP, map_, item_ids=["x", "07", "b", "a"])
    with pytest.raises(InvalidInputError, match="num_docs = 3 must be at least the number of items, 4"):
        opened(tmp_path, SHOP, map_, num_docs=3)


def test_time_that_goes_backwards_between_runs_of_a_user(tmp_path):
    table = {**SHOP, "when": [5, 5, 1, 4, 2]}
    with pytest.raises(InvalidInputError, match=r"1 x the user's time goes backwards; first: .* row 4"):
        opened(tmp_path, table, ColumnMap(**SHOP_MAP))


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("one_slate", [False, True])
@pytest.mark.parametrize("by_time", [False, True])
def test_counted_steps_agree_with_a_slow_oracle(batch, one_slate, by_time):
    random = np.random.default_rng(1)
    user, time = random.integers(0, 4, 60), random.integers(0, 9, 60)
    order = np.argsort(time, kind="stable") if by_time else np.argsort(user, kind="stable")
    user, time = user[order], time[order]
    expected = {}
    for i in np.lexsort((time, user)):
        before = [j for j in expected if user[j] == user[i]]
        expected[i] = len({time[j] for j in before} - {time[i]}) if one_slate else len(before)
    counter = step_counting.StepCounter(one_slate)
    held, actual = [], {}
    for first in [*range(0, 60, batch), 60]:
        held += range(first, min(first + batch, 60))
        done = counter.add(user[first : first + batch], time[first : first + batch], is_last=first == 60)
        assert not done.backwards.any()
        actual.update({held[place]: step for place, step in zip(done.places, done.step)})
        held = held[len(done.places) :]
    assert actual == expected


def test_without_timestamps_rows_are_counted_in_order(tmp_path):
    map_ = ColumnMap(**{**SHOP_MAP, "timestamp": None, "slot": None, "first_slot": 0})
    log = opened(tmp_path, SHOP, map_, batch_rows=2).load()
    assert log.step.tolist() == [0, 1, 2, 0, 1]
    assert log.item_id.tolist() == [1, 2, 3, 1, 4]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"item_id": None}, InvalidTypeError, "item_id must be the name of a column, got None"),
        ({"slot": 3}, InvalidTypeError, "slot must be the name of a column or None, got 3"),
        ({"policy": ""}, InvalidTypeError, "policy must be the name of a column or None, got ''"),
        ({"first_slot": -1}, InvalidInputError, "first_slot must be an integer of at least 0"),
        ({"click_above": np.nan}, InvalidInputError, "click_above must be a finite number"),
        ({"first_slot": 2**31}, InvalidInputError, "first_slot must be at most 2147483647, got 2147483648"),
        (
            {"clicked": "item_id"},
            InvalidInputError,
            "each field must have a column of its own, 'item_id' is that of item_id, clicked",
        ),
        ({"policy": "slot"}, InvalidInputError, "'slot' is that of slot, policy"),
        ({"time_scale": 0}, InvalidInputError, "time_scale must be a finite number above 0"),
        ({"user_table": 1}, InvalidTypeError, "user_table must be True or False"),
        ({"ignore_time_without_click": 1}, InvalidTypeError, "ignore_time_without_click must be True or False"),
        ({"item_table": "sort"}, InvalidInputError, "item_table must be one of first_appearance, sorted, got 'sort'"),
        ({"timestamp": "t"}, InvalidInputError, "step must be None where timestamp is given"),
        ({"user_id": None}, InvalidInputError, "step must be None where user_id is None"),
    ],
)
def test_a_map_is_validated(arguments, error, message):
    with pytest.raises(error, match=message):
        ColumnMap(**arguments)


@pytest.mark.parametrize("name", ["movielens", "kuairand", "kuairec", "open_bandit"])
def test_maps_are_known_to_gin(name):
    bound = gin.get_configurable(f"recsys_po_rl.{name}_columns")()
    assert bound == getattr(columns, f"{name}_columns")() != ColumnMap()


def test_the_project_s_own_names_are_the_default():
    assert ColumnMap().present(list(interactions.COLUMNS), "log") == {name: name for name in interactions.COLUMNS}
    assert list(ColumnMap().present(list(interactions.REQUIRED), "log")) == list(interactions.REQUIRED)
