"""Rows of a log that are dropped, with all that belongs to them."""

import csv

import numpy as np
import pytest

from recsys_po_rl.common.validation import InvalidInputError
from recsys_po_rl.logs import invalid_rows, reading, slate_sets
from recsys_po_rl.logs.columns import ColumnMap

HEADER = ["user", "when", "place", "item", "clicked"]
COUNTED = ColumnMap(
    user_id="user", step=None, timestamp="when", slot="place", item_id="item", consumed_time=None,
    user_table=True, item_table="first_appearance",
)  # fmt: skip
GIVEN = ColumnMap(user_id="user", step="when", slot="place", item_id="item", consumed_time=None)
ROWS = [
    ["zoe", 5, 0, "d", 0],
    ["zoe", 5, 1, "c", 1],
    ["zoe", 7, 0, "b", 0],
    ["adam", 1, 0, "c", 1],
    ["adam", 1, 1, "a", 0],
    ["eve", 3, 0, "e", 0],
]


def written(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def changed(row, column, value):
    rows = [list(cells) for cells in ROWS]
    rows[row][HEADER.index(column)] = value
    return rows


@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize(
    ("row", "column", "value", "dropped"),
    [
        (0, "clicked", "x", [0, 1]),  # unreadable: the slate goes, its step stays counted
        (1, "place", "", [0, 1]),
        (1, "item", "\0", [0, 1]),
        (4, "place", 0, [3, 4]),  # repeated
        (5, "clicked", "", [5]),  # the only row of a user
        (0, "when", "", [0]),  # to which slate it belongs is unknown
        (0, "user", "", [0]),
    ],
)
def test_a_slate_is_dropped_whole_where_steps_are_counted(tmp_path, row, column, value, dropped, batch_rows):
    path = written(tmp_path / "log.csv", changed(row, column, value))
    opened = reading.open_interactions(path, COUNTED, max_invalid_share=0.5, batch_rows=batch_rows)
    log = opened.load()
    kept = [cells for place, cells in enumerate(ROWS) if place not in dropped]
    steps = {("zoe", 5): 0, ("zoe", 7): 1, ("adam", 1): 0, ("eve", 3): 0}
    expected = sorted(
        [opened.user_ids.index(user), steps[user, when], slot, item] for user, when, slot, item, _ in kept
    )
    actual = zip(
        log.user_id.tolist(), log.step.tolist(), log.slot.tolist(), [opened.item_ids[i - 1] for i in log.item_id]
    )
    assert [list(cells) for cells in actual] == expected
    assert opened.user_ids == list(dict.fromkeys(cells[0] for cells in kept))
    assert opened.item_ids == list(dict.fromkeys(cells[3] for cells in kept))
    assert opened.num_users == len(opened.user_ids)
    assert (opened.num_rows, opened.num_dropped) == (len(kept), len(dropped))
    assert sum(opened.invalid_counts.values()) == 1


def test_users_and_items_are_those_of_a_log_without_the_dropped_rows(tmp_path):
    random = np.random.default_rng(3)
    rows = [[f"u{user}", when, 0, f"i{random.integers(40)}", 0] for user in range(30) for when in range(3)]
    bad = set(random.choice(len(rows), 40, replace=False).tolist())
    whole = [[*cells[:4], "x"] if place in bad else cells for place, cells in enumerate(rows)]
    kept = [cells for place, cells in enumerate(rows) if place not in bad]
    for order in ("sorted", "first_appearance"):
        map_ = ColumnMap(**{**vars(COUNTED), "item_table": order})
        opened = reading.open_interactions(
            written(tmp_path / "a.csv", whole), map_, max_invalid_share=1.0, batch_rows=7
        )
        alone = reading.open_interactions(written(tmp_path / "b.csv", kept), map_, batch_rows=100)
        assert (opened.user_ids, opened.item_ids) == (alone.user_ids, alone.item_ids)
        assert opened.num_users == alone.num_users < 30
        for name in ("user_id", "item_id", "slot"):
            np.testing.assert_array_equal(getattr(opened.load(), name), getattr(alone.load(), name))


def test_users_of_dropped_rows_alone_do_not_count(tmp_path):
    rows = [
        [2**40, 0, 0, 1, 0],
        [7, 0, 0, 1, 1],
        [7, 0, 1, 2, 1],
        [9, 0, 0, 0, 1],
        [7, 1, 0, 1, 1],
        [3, 0, 0, 1, 1],
        [3, 0, 0, 2, 0],
    ]
    path = written(tmp_path / "log.csv", rows)
    opened = reading.open_interactions(path, GIVEN, max_invalid_share=0.5, batch_rows=2)
    assert opened.load().user_id.tolist() == [7, 2**40]
    assert opened.num_users == 2
    map_ = ColumnMap(user_id=None, step=None, slot="place", item_id="item", consumed_time=None)
    opened = reading.open_interactions(path, map_, max_invalid_share=0.5)
    assert (opened.num_users, opened.num_rows, opened.num_dropped) == (6, 6, 1)


def test_a_limit_of_items_counts_those_kept(tmp_path):
    path = written(tmp_path / "log.csv", changed(5, "clicked", ""))
    assert reading.open_interactions(path, COUNTED, num_docs=4, max_invalid_share=0.5).num_rows == 5
    with pytest.raises(InvalidInputError, match="num_docs = 3 must be at least the number of items, 4"):
        reading.open_interactions(path, COUNTED, num_docs=3, max_invalid_share=0.5)


def test_memory_does_not_grow_with_the_number_of_invalid_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(invalid_rows, "MAX_KEPT", 10)
    added = []
    monkeypatch.setattr(slate_sets.SlateSet, "add", lambda self, user_id, step: added.append(len(user_id)))
    path = written(tmp_path / "log.csv", [[user, 0, 0, 0, 0] for user in range(5000)])
    with pytest.raises(InvalidInputError, match=r"5000 of 5000 rows cannot be right.*: 5000 x unknown document; first"):
        reading.open_interactions(path, GIVEN, batch_rows=100)
    assert added == []  # nothing is dropped, and no slate is remembered, where no row may be invalid
    collected = invalid_rows.InvalidRows(["a"])
    collected.add("x", np.zeros(50, np.int32), np.arange(50))
    collected.add(
        "y", np.zeros(50, np.int32), np.arange(50), text_of=lambda place: 1 / 0
    )  # not called beyond the first
    assert len(collected.rows) == 10
    assert collected.counts == {"x": 50, "y": 50}


def test_a_set_of_slates_agrees_with_a_slow_oracle(monkeypatch):
    monkeypatch.setattr(slate_sets, "_MIN_MERGED", 8)
    random = np.random.default_rng(0)
    slates, expected = slate_sets.SlateSet(), set()
    for _ in range(20):
        user, step = random.integers(-(2**62), 2**62, 3).repeat(2), random.integers(-(2**31), 2**31, 6).astype(np.int32)
        slates.add(user, step)
        expected.update(zip(user.tolist(), step.tolist()))
    slates.merge()
    members = sorted(expected)
    asked = [(user + shift, step + move) for user, step in members for shift in (0, 1) for move in (0, 1, -1)]
    asked = [(user, min(max(step, -(2**31)), 2**31 - 1)) for user, step in asked]
    users, steps = np.array([user for user, _ in asked]), np.array([step for _, step in asked], np.int32)
    assert slates.contains(users, steps).tolist() == [slate in expected for slate in asked]
    assert slates.users.tolist() == sorted({user for user, _ in members})
    assert slate_sets.SlateSet().contains(users, steps).sum() == 0


def test_too_many_slates_to_drop_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(slate_sets, "MAX_SLATES", 3)
    path = written(tmp_path / "log.csv", [[user, 0, 0, int(user > 3), 0] for user in range(9)])
    with pytest.raises(InvalidInputError, match="more than 3 slates have rows that cannot be right"):
        reading.open_interactions(path, GIVEN, max_invalid_share=0.5)
