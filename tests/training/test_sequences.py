"""Sequences of a log, division of the users, inverse-propensity weights."""

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.training import sequences

# Two users, in no order: user 9 has steps 0 and 2, user 4 has steps 0, 1 and 3.
ROWS = [  # user, step, slot, document, clicked, time, propensity of the document in its slot
    (9, 2, 1, 7, True, 0.5, 0.25),
    (4, 0, 0, 3, False, 0.0, 0.5),
    (4, 3, 0, 5, True, 1.5, 0.01),
    (9, 0, 0, 2, False, 0.0, 0.4),
    (4, 0, 1, 6, True, 2.0, 0.1),
    (4, 1, 1, 2, False, 0.0, 0.3),
    (4, 1, 0, 3, False, 0.0, 0.2),
    (9, 2, 0, 1, False, 0.0, 0.2),
]


def log(rows=ROWS, with_propensities=True):
    types = (np.int64, np.int32, np.int32, np.int32, bool, np.float32, np.float64)
    columns = [np.array(column, type_) for column, type_ in zip(zip(*rows), types)]
    return Interactions(*columns[:6], propensity_item=columns[6] if with_propensities else None)


def built(rows=ROWS, slate_size=None, parts=1, **options):
    builder = sequences.SequenceBuilder(slate_size)
    for part in range(parts):
        builder.add(log(rows[part::parts], **options))
    assert builder.num_rows == len(rows)
    return builder.finish()


@pytest.mark.parametrize("parts", [1, 3])
def test_clicks_alone(parts):
    found = built(parts=parts)
    np.testing.assert_array_equal(found.user_ids, [4, 9])
    np.testing.assert_array_equal(found.first, [0, 2, 3])
    np.testing.assert_array_equal(found.docs, [6, 5, 7])
    np.testing.assert_array_equal(found.times, np.array([2.0, 1.5, 0.5], np.float32))
    np.testing.assert_array_equal(found.propensities, [0.1, 0.01, 0.25])
    assert found.is_click.all()
    np.testing.assert_array_equal(found.user_of_step, [0, 0, 1])


@pytest.mark.parametrize("parts", [1, 4])
def test_slates_are_kept(parts):
    found = built(slate_size=3, parts=parts)
    np.testing.assert_array_equal(found.first, [0, 3, 5])
    np.testing.assert_array_equal(found.shown, [[3, 6, 0], [3, 2, 0], [5, 0, 0], [2, 0, 0], [1, 7, 0]])
    np.testing.assert_array_equal(found.clicked, [1, 3, 0, 3, 1])
    np.testing.assert_array_equal(found.docs, [6, 0, 5, 0, 7])
    np.testing.assert_array_equal(found.times, np.array([2.0, 0.0, 1.5, 0.0, 0.5], np.float32))
    assert built(slate_size=1).shown.shape == (5, 2)  # as wide as the log's slates


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(validation.InvalidInputError, match="the log has no click"):
        sequences.SequenceBuilder().finish()
    with pytest.raises(validation.InvalidInputError, match="the log has no click"):
        built([row for row in ROWS if not row[4]])
    with pytest.raises(validation.InvalidInputError, match="two clicks of user 9 in step 2: at most one"):
        built([*ROWS, (9, 2, 0, 3, True, 1.0, 0.5)])


def test_a_user_is_in_the_same_part_of_every_log():
    ids = np.arange(4000) * 7 - 900
    parts = sequences.split(ids, seed=3, validation_share=0.2, test_share=0.3)
    assert sorted(np.concatenate(parts).tolist()) == list(range(4000))
    # Binomial: five standard deviations are 0.04.
    np.testing.assert_allclose([len(part) / 4000 for part in parts], [0.5, 0.2, 0.3], atol=0.04)
    odd = sequences.split(ids[1::2], seed=3, validation_share=0.2, test_share=0.3)
    for whole, half in zip(parts, odd):
        assert {ids[number] for number in whole} >= {ids[1::2][number] for number in half}
    other = sequences.split(ids, seed=4, validation_share=0.2, test_share=0.3)
    shared = len(np.intersect1d(parts.test, other.test)) / 4000
    assert abs(shared - 0.09) < 0.03  # independent of each other


def test_weights_worked_by_hand():
    found = built()
    # D = 8: 1 / (8 p) = 1.25, 12.5, 0.5, clipped at 5; user 0 of the sequences is trained on.
    weighting = sequences.inverse_propensity_weights(found, np.array([0]), num_docs=8, max_weight=5.0)
    np.testing.assert_allclose(weighting.weights, np.array([1.25, 5.0, 0.5]) / 3.125, rtol=1e-6)
    assert weighting.share_clipped == 0.5
    np.testing.assert_allclose(weighting.effective_sample_size, 6.25**2 / (1.25**2 + 25.0))
    uniform = sequences.inverse_propensity_weights(
        built([(*row[:6], 1 / 8) for row in ROWS]), np.array([0, 1]), num_docs=8, max_weight=5.0
    )
    np.testing.assert_allclose(uniform.weights, 1.0, rtol=1e-6)


def test_steps_without_a_click_have_no_weight():
    weighting = sequences.inverse_propensity_weights(built(slate_size=2), np.array([0, 1]), 8, 5.0)
    np.testing.assert_array_equal(weighting.weights > 0, [True, False, True, False, True])


def test_unknown_propensities_are_refused():
    with pytest.raises(validation.InvalidInputError, match="propensity_item of every click, 3 of 3 clicks lack it"):
        sequences.inverse_propensity_weights(built(with_propensities=False), np.array([0]), 8, 5.0)
