"""Guards of speed that do not jitter: compilations, operations in the loop, bytes of recorded fields."""

import functools

import pytest
import tensorflow as tf

from recsys_po_rl import fields
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, T = 16, 100, 5
REWARDS = {fields.METRICS_STATE: [fields.REWARD]}
# Measured 2026-11; a change that needs more says why.
MAX_LIVE_OPS = 1000
MAX_RECORDED_BYTES_PER_USER_STEP = 160


@pytest.fixture(scope="module")
def network():
    tf.keras.utils.set_random_seed(0)
    return create_interest_evolution_simulation_network(num_users=U, num_docs=D, num_topics=10, corpus_seed=0)


def live_ops(runtime, record):
    """Types of the operations in the loop's body that its results are computed from."""
    program = runtime._program(T, record, False)
    library = program.get_concrete_function(seeding.make_keys(0)).graph.as_graph_def().library.function
    bodies = [function for function in library if "while_body" in function.signature.name]
    body = max(bodies, key=lambda function: len(function.node_def))
    nodes = {node.name: node for node in body.node_def}
    waiting = [name.split(":")[0] for name in body.ret.values()]
    seen = set()
    while waiting:
        name = waiting.pop().lstrip("^")
        if name in nodes and name not in seen:
            seen.add(name)
            waiting.extend(part.split(":")[0] for part in nodes[name].input)
    return [nodes[name].op for name in seen]


@pytest.mark.slow
def test_the_loop_of_the_reference_rollout_stays_small(network):
    found = live_ops(SeededRuntime(network.variables), REWARDS)
    assert 100 < len(found) <= MAX_LIVE_OPS, len(found)


@pytest.mark.slow
def test_what_nobody_reads_is_not_computed(network):
    runtime = SeededRuntime(network.variables)
    found = live_ops(runtime, {fields.AVAILABLE_DOCS: [fields.DOC_ID]})
    assert "MatMul" not in found
    assert len(found) < 200
    assert "MatMul" in live_ops(runtime, REWARDS)


@pytest.mark.slow
def test_the_learner_records_little(network):
    learner = PolicyGradientLearner(network, T)
    rollout = learner.rollout(seeding.make_keys(0))
    recorded = [tensor for tensor in tf.nest.flatten(rollout.recording) if tensor.shape[:2] == (T + 1, U)]
    size = sum(tensor.dtype.size * int(tf.size(tensor)) for tensor in recorded) / (U * (T + 1))
    assert 0 < size <= MAX_RECORDED_BYTES_PER_USER_STEP, size


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_training_compiles_each_program_once(network, mode):
    learner = PolicyGradientLearner(network, T, runtime_ctor=functools.partial(SeededRuntime, mode=mode))
    for step in range(3):  # other seeds, other weights
        learner.step([seeding.make_keys(step, batch=shard) for shard in range(2)])
    assert learner._runtime.trace_count == 1
    assert learner._gradient.trace_count == 1
    assert learner._compiled_collect.experimental_get_tracing_count() == 1
    assert learner._compiled_update.experimental_get_tracing_count() == 1
