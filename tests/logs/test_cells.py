"""Cells of interaction logs: exact integers, one rule for texts and numbers, one form of time for each column."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from recsys_po_rl.common.validation import InvalidInputError
from recsys_po_rl.logs import cells, reading, times
from recsys_po_rl.logs.columns import ColumnMap
from tests.support.logs import opened

RIGHT = {"user_id": [1], "step": [0], "slot": [0], "item_id": [1], "clicked": [1], "consumed_time": [1.0]}
LARGE = 2**53 + 1  # a float64 rounds it


def usable(column):
    return [value if right else None for value, right in zip(column.values.tolist(), column.usable.tolist())]


@pytest.mark.parametrize("odd", ["x", 2.5, "", 10**19])
@pytest.mark.parametrize("batch_rows", [1, 100])
def test_one_odd_cell_rounds_no_other(tmp_path, odd, batch_rows):
    table = {name: [values[0]] * 3 for name, values in RIGHT.items()}
    table["user_id"] = np.array([LARGE, odd, LARGE + 1], object)
    log_file = opened(tmp_path, table, max_invalid_share=0.5, batch_rows=batch_rows)
    assert log_file.load().user_id.tolist() == [LARGE, LARGE + 1]
    assert sum(log_file.invalid_counts.values()) == 1


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([str(LARGE), "x", " 7 ", None, "5.0", "1e3"]), [LARGE, None, 7, None, 5, 1000]),
        (pa.array([LARGE, 2**64 - 1, None], pa.uint64()), [LARGE, None, None]),
        (pa.array([decimal.Decimal(LARGE), decimal.Decimal("2.5")]), [LARGE, None]),
        (pa.array([1.0, 2.0**53 - 1, 2.0**53, 0.5, None, np.nan]), [1, 2**53 - 1, None, None, None, None]),
        (pa.array([f"{LARGE}.0", str(2**63 - 1), str(2**63)]), [None, 2**63 - 1, None]),
        (pa.array(["true", "0x10", "1_000", "+5", "٣"]), [None, None, None, 5, None]),
        (pa.array(["0x10", "7"]), [None, 7]),
    ],
)
def test_integers_are_exact_or_wrong(column, expected):
    assert usable(cells.integers(column, np.int64)) == expected
    by_cell = [usable(cells.integers(column[i : i + 1], np.int64))[0] for i in range(len(column))]
    assert by_cell == expected


def test_ids_are_no_booleans():
    with pytest.raises(TypeError, match="must hold integers, it holds bool"):
        cells.integers(pa.array([True]), np.int64)


NUMBERS = {
    "1": 1, "+1": 1, "-.5": -0.5, "5.": 5, "1e3": 1000, "1E-1": 0.1, " 2 ": 2, "007": 7, "inf": np.inf, "true": 1,
    "0x10": None, "1_000": None, "1d3": None, "nan(1)": None, "infinit": None, "x": None, "٣": None, "1 2": None,
}  # fmt: skip


@pytest.mark.parametrize("others", [[], ["x"]], ids=["whole columns are cast", "cell by cell"])
def test_texts_of_numbers_do_not_depend_on_other_cells(others):
    for text, expected in NUMBERS.items():
        assert usable(cells.numbers(pa.array([text, *others])))[0] == expected, text


def test_slots_beyond_32_bits_are_wrong_and_negative_ones_negative(tmp_path):
    map_ = ColumnMap(first_slot=1)
    table = {name: values * 4 for name, values in RIGHT.items()}
    table.update(step=[0, 1, 2, 3], slot=[1, -(2**31), -(2**31) + 1, 2**31], item_id=[1, 2, 3, 4])
    log_file = opened(tmp_path, table, map_, max_invalid_share=1.0)
    assert log_file.load().slot.tolist() == [0, 2**31 - 1]
    assert log_file.load().item_id.tolist() == [1, 4]
    assert log_file.invalid_counts == {"wrong type of slot": 1, "negative user_id, step or slot": 1}


def read_times(*parts):
    reader = times.TimeReader()
    return [usable(reader.read(pa.array(part))) for part in parts]


SECOND = 1_000_000


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["20200102", "2020-01-02", None, "7.5"], [20200102, None, None, 7.5]),
        (["2020-01-02", "20200102", "2020-13-01"], [1577923200 * SECOND, None, None]),
        (["x", "2020-01-02T00:00:01", "2020-01-02T00:00:01Z"], [None, 1577923201 * SECOND, None]),
        (["2020-01-02 00:00:01+01:00", "2020-01-02"], [1577919601 * SECOND, None]),
        ([str(LARGE), str(LARGE + 1), "x", "2.0"], [LARGE, LARGE + 1, None, 2]),
        ([str(LARGE), "2.5"], [LARGE, None]),
        (["2.5", str(LARGE), "3"], [2.5, None, 3]),
    ],
)
def test_the_first_time_decides_the_form_of_a_column(texts, expected):
    assert read_times(texts) == [expected]
    assert [part[0] for part in read_times(*([text] for text in texts))] == expected


def test_times_of_arrow():
    assert read_times([datetime.date(1970, 1, 2)]) == [[86400 * SECOND]]
    reader = times.TimeReader()
    values = reader.read(pa.array([2**62, 5, None], pa.timestamp("s")))
    assert usable(values) == [None, 5 * SECOND, None]
    assert usable(reader.read(pa.array([1999], pa.timestamp("ns")))) == [1]
    assert usable(times.TimeReader().read(pa.array([1.0, LARGE - 1, np.nan]))) == [1, LARGE - 1, None]


def test_files_hold_all_dates_or_all_numbers(tmp_path):
    map_ = ColumnMap(step=None, timestamp="when")
    right = {name: values for name, values in RIGHT.items() if name != "step"}
    paths = []
    for name, when in (("a", "2020-01-02"), ("b", "2020-01-02T00:00:00Z"), ("c", 1577923200)):
        paths.append(tmp_path / f"{name}.csv")
        pd.DataFrame({**right, "user_id": ord(name), "when": [when]}).to_csv(paths[-1], index=False)
    assert reading.load_interactions(paths[:2], map_).num_rows == 2
    with pytest.raises(InvalidInputError, match="column 'when' holds numbers, that of files before it dates"):
        reading.load_interactions(paths, map_)


def test_an_empty_policy_is_none_in_every_format(tmp_path):
    for suffix in (".csv", ".parquet"):
        log = opened(tmp_path, {**RIGHT, "policy": [""]}, suffix=suffix).load()
        assert log.policy.tolist() == [None]
