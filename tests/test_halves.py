"""Rows in two halves give what all rows at once give."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import fields, scoring, simulation_config
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.simulation import halves, seeding
from recsys_po_rl.simulation.runtime import SeededRuntime


@pytest.fixture
def sizes(monkeypatch):
    """Batches that a function got, where five rows are enough."""
    monkeypatch.setattr(halves, "LEAST_ROWS", 5)
    return []


def squares(sizes, tensor, other):
    sizes.append((int(tensor.shape[0]), halves.whole_rows(tensor)))
    return tensor**2 + other["more"]


@pytest.mark.parametrize(
    ("rows", "docs", "wanted", "expected"),
    [
        (5, 512, True, [(2, 4), (3, 6)]),  # the whole is taken for twice a half
        (6, 100, True, [(3, 6), (3, 6)]),
        (4, 100, True, [(4, 4)]),
        (6, 513, True, [(6, 6)]),
        (6, 100, False, [(6, 6)]),
    ],
)
def test_there_are_halves_where_they_are_wanted_and_help(sizes, rows, docs, wanted, expected):
    tensor = tf.range(float(rows))
    with halves.wanted(wanted):
        found = halves.by_rows(functools.partial(squares, sizes), tensor, {"more": tensor}, num_docs=docs)
        assert len(halves.of_rows(tensor, docs)) == len(expected)
    np.testing.assert_array_equal(found, np.arange(rows) ** 2 + np.arange(rows))
    assert sizes == expected


def test_halves_are_not_halved_again(sizes):
    def inner(tensor):
        sizes.append(int(tensor.shape[0]))
        return tensor

    with halves.wanted():
        halves.by_rows(lambda tensor: halves.by_rows(inner, tensor, num_docs=9), tf.zeros(20), num_docs=9)
    assert sizes == [10, 10]


def test_nothing_is_halved_unless_it_is_wanted(sizes):
    assert len(halves.of_rows(tf.zeros(20), 9)) == 1
    with pytest.raises(ValueError, match="inside"), halves.wanted():
        raise ValueError("inside")
    assert len(halves.of_rows(tf.zeros(20), 9)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("model", [scoring.CollabFilteringModel, scoring.AveragedHistoryModel])
def test_a_run_in_halves_shows_the_same_slates(monkeypatch, model):
    network = simulation_config.create_interest_evolution_simulation_network(
        num_users=21,
        num_docs=30,
        num_topics=3,
        corpus_seed=0,
        recommender_ctor=functools.partial(CollabFilteringRecommender, model_ctor=model),
    )
    record = {fields.SLATE_DOCS: [fields.DOC_ID], fields.METRICS_STATE: [fields.CUMULATIVE_REWARD]}
    scored = []
    first = SeededRuntime(network.variables, mode="xla").trajectory(12, keys=seeding.make_keys(4), record=record)
    monkeypatch.setattr(halves, "LEAST_ROWS", 5)
    monkeypatch.setattr(
        halves, "of_rows", lambda *given, before=halves.of_rows: scored.append(len(before(*given))) or before(*given)
    )
    again = SeededRuntime(network.variables, mode="xla").trajectory(12, keys=seeding.make_keys(4), record=record)
    assert 2 in scored
    np.testing.assert_array_equal(
        again[fields.SLATE_DOCS].get(fields.DOC_ID), first[fields.SLATE_DOCS].get(fields.DOC_ID)
    )
    np.testing.assert_allclose(
        again[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD),
        first[fields.METRICS_STATE].get(fields.CUMULATIVE_REWARD),
        rtol=1e-5,
    )
