"""Rows of interaction logs, and checks of single rows."""

import dataclasses

import numpy as np
import pytest

from recsys_po_rl.logs import interactions as lib
from tests.support.logs import RIGHT, changed, log_of


def single(log, num_docs=7):
    return {fault.reason: fault.places.tolist() for fault in lib.single_row_faults(log, num_docs)}


def test_a_right_log_has_no_faults():
    log = log_of(RIGHT)
    assert single(log) == {}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("item_id", 0, lib.UNKNOWN_DOCUMENT),
        ("item_id", 8, lib.UNKNOWN_DOCUMENT),
        ("user_id", -1, lib.NEGATIVE_PLACE),
        ("step", -1, lib.NEGATIVE_PLACE),
        ("slot", -2, lib.NEGATIVE_PLACE),
        ("consumed_time", np.nan, lib.TIME_NOT_FINITE),
        ("consumed_time", np.inf, lib.TIME_NOT_FINITE),
        ("consumed_time", -0.25, lib.NEGATIVE_TIME),
        ("clicked", 0, lib.TIME_WITHOUT_CLICK),
        ("propensity", 0.0, "propensity is not in (0, 1]"),
        ("propensity", 1.0000001, "propensity is not in (0, 1]"),
        ("propensity", -np.inf, "propensity is not in (0, 1]"),
    ],
)
def test_a_row_that_cannot_be_right_is_found(column, value, reason):
    assert single(changed(column, 1, value)) == {reason: [1]}


def test_without_a_number_of_documents_any_positive_id_is_one():
    assert single(changed("item_id", 1, 8), num_docs=None) == {}
    assert single(changed("item_id", 1, 0), num_docs=None) == {lib.UNKNOWN_DOCUMENT: [1]}


def test_a_click_without_time_is_right():
    assert single(changed("consumed_time", 1, 0.0)) == {}


@pytest.mark.parametrize("column", lib.PROPENSITIES)
def test_every_propensity_is_checked(column):
    log = dataclasses.replace(log_of(RIGHT), **{column: np.array([1, 1, 1, 2, np.nan, 1])})
    assert single(log) == {f"{column} is not in (0, 1]": [3]}


def test_logs_are_concatenated_with_unknown_optional_columns():
    log = log_of(RIGHT)
    both = lib.concatenate([log.take([4, 0]), dataclasses.replace(log.take([1]), propensity=None)])
    assert both.user_id.tolist() == [5, 3, 3]
    np.testing.assert_array_equal(both.propensity, [np.nan, 0.1, np.nan])
    assert both.policy is None
    assert {name: values.dtype for name, values in lib.concatenate([]).present().items()} == lib.REQUIRED


def test_rows_are_sorted_by_user_step_and_slot():
    log = log_of(RIGHT).take([4, 3, 1, 0, 5, 2]).in_order()
    assert log.item_id.tolist() == RIGHT["item_id"]
    assert log.num_rows == 6
