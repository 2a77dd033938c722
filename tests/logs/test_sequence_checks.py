"""Checks of a log's rows against one another."""

import dataclasses

import numpy as np
import pytest

from recsys_po_rl.logs import sequence_checks as checks
from tests.support.logs import RIGHT, changed, log_of


def sequential(*parts):
    checker = checks.SequenceChecker()
    return [
        (fault.reason, fault.places.tolist())
        for part in parts
        for fault in checker.faults(part, np.ones(part.num_rows, bool))
    ]


def test_a_right_log_has_no_faults():
    assert sequential(log_of(RIGHT)) == []


def test_repeated_rows_are_found_within_a_batch_and_across():
    log = log_of(RIGHT)
    assert sequential(log.take([0, 1, 1])) == [(checks.REPEATED, [2])]
    assert sequential(log, log.take([3])) == [(checks.REPEATED, [0])]


def test_a_user_whose_time_goes_backwards_is_found():
    log = log_of(RIGHT)
    assert sequential(log.take([2, 0, 4, 3])) == [(checks.BACKWARDS, [1])]
    assert sequential(log.take([2, 3]), log.take([4]), log.take([5, 0])) == [(checks.BACKWARDS, [1])]


def test_slots_may_come_in_any_order_and_users_may_alternate():
    assert sequential(log_of(RIGHT).take([1, 4, 0, 3, 5, 2])) == []


def test_a_second_click_is_found_within_a_batch_and_across():
    log = changed("clicked", 0, 1)
    assert sequential(log) == [(checks.SECOND_CLICK, [1])]
    assert sequential(log.take([1]), log.take([4, 0])) == [(checks.SECOND_CLICK, [1])]


def test_rows_that_are_not_valid_are_ignored():
    log = log_of(RIGHT).take([2, 0, 3])
    checker = checks.SequenceChecker()
    assert list(checker.faults(log, np.array([False, True, True]))) == []


def slow_faults(rows):
    """Reasons by row, in pure Python."""
    faults, steps, seen, clicked = {}, {}, set(), set()
    for i, (user, step, slot, click) in enumerate(rows):
        if step < steps.get(user, 0):
            faults[i] = checks.BACKWARDS
            continue
        steps[user] = step
        if (user, step, slot) in seen:
            faults[i] = checks.REPEATED
            continue
        seen.add((user, step, slot))
        if click:
            if (user, step) in clicked:
                faults[i] = checks.SECOND_CLICK
            clicked.add((user, step))
    return faults


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_checks_in_batches_agree_with_a_slow_oracle(batch):
    random = np.random.default_rng(0)
    size = 400
    user = random.integers(0, 5, size)
    step = np.minimum(np.arange(size) // 40 + random.integers(0, 2, size), 9)
    slot, click = random.integers(0, 4, size), random.random(size) < 0.3
    log = log_of({"user_id": user, "step": step, "slot": slot, "item_id": slot + 1, "clicked": click})
    checker, actual = checks.SequenceChecker(), {}
    for first in range(0, size, batch):
        part = log.take(slice(first, first + batch))
        for fault in checker.faults(part, np.ones(part.num_rows, bool)):
            actual.update({first + place: fault.reason for place in fault.places.tolist()})
    expected = slow_faults(zip(user, step, slot, click))
    assert len(set(expected.values())) == 3
    assert actual == expected


def with_columns(**columns):
    return log_of({**RIGHT, **columns})


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"item_id": [1, 1, 7, 1, 5, 6]}, [(checks.REPEATED_DOCUMENT, [1])]),
        ({"propensity": [0.1, 0.1, 1, 0.5, np.nan, np.nan]}, [(checks.UNEQUAL_PROPENSITY, [3])]),
        ({"propensity": [0.1, np.nan, 1, 1 - 1e-12, np.nan, 0.5]}, []),  # unknown ones and rounding contradict nothing
        ({"propensity_prefix": [0.5, 0.25, 0.1, 0.2, np.nan, 1]}, [(checks.GROWING_PREFIX, [3])]),
        ({"propensity_prefix": [0.5, 0.5, 0.2, 0.2 + 1e-12, 0.1, np.nan]}, []),
    ],
)
def test_rows_of_a_slate_agree(columns, expected):
    log = with_columns(**columns)
    assert sequential(log) == expected
    assert sequential(*(log.take([place]) for place in range(6))) == [(reason, [0]) for reason, _ in expected]


def test_of_two_rows_that_disagree_the_later_is_at_fault_whatever_their_slots():
    log = with_columns(propensity_prefix=[0.25, 0.5, 1, 1, 1, 1]).take([1, 0, 2, 3])
    assert sequential(log) == [(checks.GROWING_PREFIX, [1])]
    log = with_columns(propensity_prefix=[0.9, 0.5, 0.7, 1, 1, 1], slot=[0, 1, 2, 0, 0, 1], step=[0, 0, 0, 1, 0, 0])
    log = dataclasses.replace(log, propensity=None)
    assert sequential(log.take([0, 1]), log.take([2])) == [(checks.GROWING_PREFIX, [0])]


def test_a_row_has_one_fault():
    log = with_columns(item_id=[1, 1, 2, 3, 4, 5], clicked=[1, 1, 0, 0, 0, 0], propensity=[0.5, 0.25, 1, 1, 1, 1])
    assert sequential(log) == [(checks.SECOND_CLICK, [1])]


@pytest.mark.parametrize("batch", [1, 5, 300])
def test_checks_of_slates_agree_with_a_slow_oracle(batch):
    random = np.random.default_rng(2)
    size = 300
    user, step = random.integers(0, 3, size), np.arange(size) // 30
    slot, item = np.arange(size) % 30, random.integers(1, 60, size)
    prefix = np.where(random.random(size) < 0.9, 0.9 - slot / 40, random.random(size))
    log = log_of({"user_id": user, "step": step, "slot": slot, "item_id": item, "clicked": np.zeros(size)})
    joint = random.choice([0.5, 0.5, 0.5, np.nan, 0.25], size)
    log = dataclasses.replace(log, propensity=joint, propensity_prefix=prefix)
    expected = {}
    for i in range(size):
        before = [j for j in range(i) if (user[j], step[j]) == (user[i], step[i])]
        known = [log.propensity[j] for j in before if log.propensity[j] > 0]
        if item[i] in item[before]:
            expected[i] = checks.REPEATED_DOCUMENT
        elif known and log.propensity[i] > 0 and log.propensity[i] != known[0]:
            expected[i] = checks.UNEQUAL_PROPENSITY
        elif before and prefix[i] > prefix[before[-1]]:
            expected[i] = checks.GROWING_PREFIX
    checker, actual = checks.SequenceChecker(), {}
    for first in range(0, size, batch):
        part = log.take(slice(first, first + batch))
        for fault in checker.faults(part, np.ones(part.num_rows, bool)):
            actual.update({first + place: fault.reason for place in fault.places.tolist()})
    assert len(set(expected.values())) == 3
    assert actual == expected
