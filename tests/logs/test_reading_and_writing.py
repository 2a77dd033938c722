"""Interaction logs in and out of files."""

import csv
import os
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_po_rl.common.validation import InvalidInputError
from recsys_po_rl.logs import interactions, reading, sequence_checks, table_streams, writing
from recsys_po_rl.logs.columns import ColumnMap
from tests.support.logs import random_log, written

BOTH = pytest.mark.parametrize("suffix", [".parquet", ".csv"])


def assert_equal(actual, expected):
    assert list(actual.present()) == list(expected.present())
    for name, values in expected.present().items():
        assert getattr(actual, name).dtype == values.dtype
        np.testing.assert_array_equal(getattr(actual, name), values, err_msg=name)


def csv_of(path, columns):
    names = list(columns)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *zip(*columns.values())])
    return str(path)


@BOTH
def test_a_round_trip_keeps_every_bit(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(writing, "ROW_GROUP_ROWS", 250)
    log = random_log()
    path = written(tmp_path / f"log{suffix}", log)
    assert_equal(interactions.concatenate(list(reading.read_interactions(path))), log)
    assert_equal(reading.load_interactions(path), log.in_order())
    assert os.listdir(tmp_path) == [f"log{suffix}"] or suffix == ".csv"


@BOTH
def test_unknown_propensities_are_missing_cells(tmp_path, suffix):
    log = random_log()
    path = written(tmp_path / f"log{suffix}", log)
    frame = pd.read_parquet(path) if suffix == ".parquet" else pd.read_csv(path, float_precision="round_trip")
    if suffix == ".parquet":
        assert pq.read_table(path)["propensity"].null_count == np.isnan(log.propensity).sum()
    np.testing.assert_array_equal(frame["propensity"], log.propensity)
    np.testing.assert_array_equal(frame["consumed_time"].astype(np.float32), log.consumed_time)
    np.testing.assert_array_equal(frame["user_id"], log.user_id)
    assert list(frame) == list(interactions.COLUMNS)


@BOTH
def test_batches_have_at_most_the_rows_asked_for(tmp_path, suffix):
    log = random_log()
    path = written(tmp_path / f"log{suffix}", log)
    sizes = [batch.num_rows for batch in reading.read_interactions(path, batch_rows=64)]
    assert max(sizes) == 64
    assert sum(sizes) == log.num_rows


def test_several_files_are_one_log(tmp_path):
    log = random_log()
    first = written(tmp_path / "a.parquet", log.take(slice(0, 301)))
    second = written(tmp_path / "b.csv", log.take(slice(301, None)), optional=["policy"])
    loaded = reading.open_interactions([first, second])
    assert loaded.num_users == 50
    assert loaded.load().num_rows == log.num_rows
    np.testing.assert_array_equal(loaded.load().policy, log.in_order().policy)
    assert np.isnan(loaded.load().propensity).sum() == np.isnan(log.propensity[:301]).sum() + log.num_rows - 301


@BOTH
def test_metadata(tmp_path, suffix):
    metadata = {"seeds": [3], "config": "a.b = 'ü'\n", "documents": {"num_docs": 7}}
    path = written(tmp_path / f"log{suffix}", random_log(), metadata=metadata)
    assert reading.read_metadata(path) == metadata


def test_a_log_of_others_has_no_metadata(tmp_path):
    pq.write_table(pa.table({"user_id": [1]}), tmp_path / "log.parquet")
    assert reading.read_metadata(tmp_path / "log.parquet") == {}
    assert reading.read_metadata(csv_of(tmp_path / "log.csv", {"user_id": [1]})) == {}


def test_metadata_are_hostile_input(tmp_path):
    table = pa.table({"user_id": [1]}).replace_schema_metadata({"recsys_po_rl": "[" * 100_000})
    pq.write_table(table, tmp_path / "log.parquet")
    with pytest.raises(InvalidInputError, match=r"metadata of .*log\.parquet.* is no JSON"):
        reading.read_metadata(tmp_path / "log.parquet")


RIGHT = {
    "user_id": [1, 1, 1, 1, 2, 2],
    "step": [0, 0, 1, 1, 0, 0],
    "slot": [0, 1, 0, 1, 0, 1],
    "item_id": [1, 2, 3, 4, 5, 6],
    "clicked": ["true", "false", 0, 1, "False", "True"],
    "consumed_time": [1.5, 0, 0, 2, 0, 0.5],
    "propensity": ["", "", 0.5, 0.5, "nan", 1],
}


def test_a_table_written_by_hand(tmp_path):
    log = reading.load_interactions(csv_of(tmp_path / "log.csv", RIGHT))
    assert log.clicked.tolist() == [True, False, False, True, False, True]
    assert log.consumed_time.tolist() == RIGHT["consumed_time"]
    np.testing.assert_array_equal(log.propensity, [np.nan, np.nan, 0.5, 0.5, np.nan, 1])
    assert log.policy is None


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("user_id", "x", "wrong type of user_id"),
        ("user_id", "", "missing user_id"),
        ("user_id", 2.5, "wrong type of user_id"),
        ("user_id", 10**19, "wrong type of user_id"),
        ("step", 2**31, "wrong type of step"),
        ("item_id", 7, "unknown document"),
        ("item_id", 0, "unknown document"),
        ("clicked", "yes", "wrong type of clicked"),
        ("clicked", "nan", "missing clicked"),
        ("clicked", 0, "consumed_time without a click"),
        ("consumed_time", "", "missing consumed_time"),
        ("consumed_time", "nan", "consumed_time is not finite"),
        ("consumed_time", "1e39", "consumed_time is not finite"),
        ("consumed_time", -1, "negative consumed_time"),
        ("propensity", 0, r"propensity is not in \(0, 1\]"),
        ("propensity", "x", "wrong type of propensity"),
        ("slot", 0, "repeated user, step and slot"),
    ],
)
def test_a_row_that_cannot_be_right_is_reported_and_its_slate_dropped(tmp_path, column, value, reason):
    row = 4
    columns = {**RIGHT, column: [value if i == row - 1 else old for i, old in enumerate(RIGHT[column])]}
    path = csv_of(tmp_path / "log.csv", columns)
    with pytest.raises(InvalidInputError) as caught:
        reading.read_interactions(path, num_docs=6)
    line = str(caught.value)
    assert "\n" not in line
    assert "of 6 rows cannot be right, max_invalid_share = 0 allows 0: " in line
    assert f"log.csv' row {row}: " in line
    assert re.search(reason, line)
    opened = reading.open_interactions(path, num_docs=6, max_invalid_share=0.5)
    kept = opened.load()
    assert opened.num_rows == kept.num_rows < 6
    assert opened.num_dropped == 6 - kept.num_rows
    assert sum(opened.invalid_counts.values()) == len(opened.invalid_rows)
    if column not in ("user_id", "step"):  # whose slate is known
        assert kept.item_id.tolist() == [1, 2, 5, 6]


def test_a_user_whose_time_goes_backwards(tmp_path):
    order = [2, 0, 3, 4, 5, 1]  # the rows of slate (1, 0) come after one of (1, 1)
    path = csv_of(tmp_path / "log.csv", {name: [values[i] for i in order] for name, values in RIGHT.items()})
    opened = reading.open_interactions(path, max_invalid_share=0.5, batch_rows=2)
    assert [(row.row, row.reason) for row in opened.invalid_rows] == [
        (2, sequence_checks.BACKWARDS),
        (6, sequence_checks.BACKWARDS),
    ]
    assert opened.load().item_id.tolist() == [3, 4, 5, 6]


def test_a_second_click_drops_the_slate_even_in_an_earlier_batch(tmp_path):
    columns = {**RIGHT, "clicked": [1, 0, 0, 1, 1, 1]}
    path = csv_of(tmp_path / "log.csv", columns)
    opened = reading.open_interactions(path, max_invalid_share=0.2, batch_rows=1)
    assert opened.invalid_counts == {"second click in a slate": 1}
    assert opened.load().item_id.tolist() == [1, 2, 3, 4]
    with pytest.raises(InvalidInputError, match=r"1 of 6 rows cannot be right, max_invalid_share = 0\.1 allows 0"):
        reading.open_interactions(path, max_invalid_share=0.1)


def test_rows_with_a_wrong_number_of_cells_keep_the_numbers_of_others_right(tmp_path):
    lines = ["user_id,step,slot,item_id,clicked,consumed_time"]
    lines += [f"{user},0,0,1,0,{'-1' if user == 7 else 0}" + (",9" if user in (2, 5) else "") for user in range(1, 10)]
    (tmp_path / "log.csv").write_text("\n".join(lines), encoding="utf-8")
    opened = reading.open_interactions(str(tmp_path / "log.csv"), max_invalid_share=0.5, batch_rows=2)
    assert sorted((row.row, row.reason) for row in opened.invalid_rows) == [
        (2, "7 cells where the header has 6"),
        (5, "7 cells where the header has 6"),
        (7, "negative consumed_time"),
    ]
    assert opened.load().user_id.tolist() == [1, 3, 4, 6, 8, 9]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"user_id": ["a"]}, "column 'user_id' must hold numbers|wrong type of user_id"),
        ({"clicked": [[1]]}, "cannot be read: column 'clicked' holds list"),
        ({"consumed_time": [b"x"]}, "column 'consumed_time' must hold numbers, it holds binary"),
        ({"policy": [1]}, "column 'policy' must hold texts, it holds int64"),
    ],
)
def test_a_column_of_the_wrong_type(tmp_path, table, message):
    right = {"user_id": [1], "step": [0], "slot": [0], "item_id": [1], "clicked": [True], "consumed_time": [1.0]}
    pq.write_table(pa.table({**right, **table}), tmp_path / "log.parquet")
    with pytest.raises(InvalidInputError, match=message):
        reading.load_interactions(tmp_path / "log.parquet")


def test_a_missing_column_is_named(tmp_path):
    path = csv_of(tmp_path / "log.csv", {name: RIGHT[name] for name in RIGHT if name != "slot"})
    with pytest.raises(InvalidInputError, match=r"lacks the column 'slot' \(ColumnMap.slot\), it has 'user_id', "):
        reading.load_interactions(path)
    with pytest.raises(InvalidInputError, match=r"lacks the column 'p' \(ColumnMap.propensity\)"):
        reading.load_interactions(csv_of(tmp_path / "log.csv", RIGHT), ColumnMap(propensity="p"))


def test_damaged_parquet_gives_one_line(tmp_path):
    path = written(tmp_path / "log.parquet", random_log())
    whole = (tmp_path / "log.parquet").read_bytes()
    random = np.random.default_rng(0)
    lines = []
    for trial in range(60):
        damaged = bytearray(whole)
        for place in random.integers(4, len(whole), 3):
            damaged[place] ^= 1 << random.integers(8)
        (tmp_path / "log.parquet").write_bytes(damaged[: len(whole) - (trial % 3) * 100])
        try:
            reading.load_interactions(path)
            reading.read_metadata(path)
        except InvalidInputError as error:
            lines.append(str(error))
    assert len(lines) > 30
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_what_is_no_regular_file(tmp_path, kind):
    path = tmp_path / "log.csv"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(InvalidInputError, match=r"there is no file|it is no regular file"):
        reading.load_interactions(path)


def test_a_file_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path / "log.parquet", random_log())
    monkeypatch.setattr(table_streams, "MAX_ROWS", 599)
    with pytest.raises(InvalidInputError, match="it has 600 rows, at most 599 are allowed"):
        reading.load_interactions(path)
    monkeypatch.setattr(table_streams, "MAX_ROWS", 600)
    monkeypatch.setattr(table_streams, "MAX_ROW_GROUP_BYTES", 1000)
    with pytest.raises(InvalidInputError, match="row group 0 has more than 1000 bytes"):
        reading.load_interactions(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"paths": 3}, "paths must be a path or a list of paths, got 3"),
        ({"paths": []}, "paths must be a path"),
        ({"columns": "x"}, "columns must be a ColumnMap, got 'x'"),
        ({"num_docs": 0}, "num_docs must be an integer of at least 1"),
        ({"max_invalid_share": 1.5}, "max_invalid_share must be a finite number"),
        ({"batch_rows": 0}, "batch_rows must be an integer of at least 1"),
        ({"item_ids": [1]}, "item_ids need a ColumnMap with an item_table"),
    ],
)
def test_arguments_are_validated(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        reading.open_interactions(**{"paths": "log.csv", **arguments})


def test_a_log_without_rows(tmp_path):
    for suffix in (".csv", ".parquet"):
        path = written(tmp_path / f"log{suffix}", random_log().take(slice(0, 0)), parts=1)
        assert reading.load_interactions(path).num_rows == 0
