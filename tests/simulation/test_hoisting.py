"""Weight-only computations run once per loop, in the graph around it, and on the spot elsewhere."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import scoring
from recsys_po_rl.simulation import hoisting


def test_without_a_loop_it_is_computed_on_the_spot():
    calls = []
    for _ in range(2):
        assert hoisting.loop_invariant("key", lambda: calls.append(1) or 7) == 7
    assert len(calls) == 2
    assert not hoisting.in_loop()


def test_within_a_scope_it_is_computed_once_by_key():
    calls = []
    with hoisting.scope() as scope:
        assert hoisting.in_loop()
        for key in ("a", "b", "a"):
            hoisting.loop_invariant(key, lambda: calls.append(1) or len(calls))
        assert hoisting.loop_invariant("a", lambda: 99) == 1
    assert len(calls) == 2
    assert list(scope.computations) == ["a", "b"]
    with hoisting.scope({"a": 5}):
        assert hoisting.loop_invariant("a", lambda: 99) == 5


@pytest.mark.parametrize("jit_compile", [None, True])
def test_within_a_compiled_loop_it_is_computed_outside(jit_compile):
    weight = tf.Variable(3.0)

    @tf.function(jit_compile=jit_compile, autograph=False)
    def run():
        outside = tf.compat.v1.get_default_graph()
        graphs = []

        def body(step, total):
            squared = hoisting.loop_invariant("squared", lambda: weight**2)
            graphs.append(squared.graph)
            return step + 1, total + squared

        with hoisting.scope():
            _, total = tf.while_loop(lambda step, _: step < 4, body, (0, 0.0), maximum_iterations=4)
        assert graphs == [outside]
        return total

    assert float(run()) == 36.0
    weight.assign(2.0)
    assert float(run()) == 16.0


@pytest.mark.parametrize("mask", [False, True])
def test_the_folded_first_layer_scores_as_the_layer_does(mask):
    model = scoring.CollabFilteringModel(4, 6, 8, 5, mask_null_documents=mask)
    random = np.random.RandomState(0)
    ids = random.randint(0, 7, (9, 5)).astype(np.int32)
    times = random.uniform(0.0, 2.0, (9, 5)).astype(np.float32)
    expected = model(ids, times)
    with hoisting.scope() as scope:
        folded = model(ids, times)
    assert {name for _, name in scope.computations} == {"slot table", "time weights", "proposals"}
    np.testing.assert_allclose(folded, expected, rtol=1e-5, atol=1e-5)
