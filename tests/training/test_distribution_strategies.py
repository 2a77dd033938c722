"""The facade's training step under `tf.distribute`, in a process of its own: logical devices are set once."""

import re

import pytest

TWO_DEVICES = '''
import numpy as np
import recsys_po_rl
from recsys_po_rl import corpus, gin_config, interest_evolution_simulation as simulation
import tensorflow as tf
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network as create
from recsys_po_rl.training import dropin_runtime

STEPS, HORIZON, USERS = 20, 6, 10  # users of a replica
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
gin_config.parse([], ["recsys_po_rl.SimulationRuntime.mode = 'graph'"])
step_number = tf.Variable(0, trainable=False, dtype=tf.int32)
alone = tf.Variable(-1, trainable=False, dtype=tf.int32)  # replica whose users the single device draws


def keys_of_replica():
    """Keys that depend on the step and the replica, in the place of TensorFlow's global random state."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    replica = tf.where(alone.read_value() < 0, replica, alone.read_value())
    number = step_number.read_value()
    return seeding.Keys(*(tf.stack([100 * purpose + replica, number]) for purpose in range(3)))


def made():
    tf.keras.utils.set_random_seed(3)
    network = create(num_users=USERS, num_topics=3, num_docs=12, corpus_seed=0, corpus_ctor=corpus.ReferenceCorpus)
    return network, network.recommender.trainable_variables


dropin_runtime.fresh_keys = keys_of_replica
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    network, weights = made()
    optimizer = tf.keras.optimizers.SGD(1e-3)
    optimizer.build(weights)
mirrored = (simulation.make_runtime(network.variables), HORIZON, 2 * USERS, weights, "cumulative_reward", optimizer)
mirrored_step = tf.function(lambda: strategy.run(simulation.distributed_train_step, args=mirrored)[1:])
network, weights_alone = made()
first = [weight.numpy() for weight in weights_alone]
optimizer = tf.keras.optimizers.SGD(1e-3)
single = (simulation.make_runtime(network.variables), HORIZON, 2 * USERS, weights_alone, "cumulative_reward")
single_step = tf.function(lambda: simulation.distributed_train_step(*single))
for number in range(STEPS):
    step_number.assign(number)
    objectives, metrics = (strategy.experimental_local_results(values) for values in mirrored_step())
    gradients = []
    for replica in range(2):
        alone.assign(replica)
        gradient, objective, metric = single_step()
        gradients.append(gradient)
        np.testing.assert_allclose(objectives[replica], objective, rtol=1e-4)
        np.testing.assert_allclose(metrics[replica], metric, rtol=1e-5)
    alone.assign(-1)
    optimizer.apply_gradients(zip([sum(pair) for pair in zip(*gradients)], weights_alone))
    assert metrics[0] != metrics[1]  # each replica has users of its own
moved = 0.0
for weight, other, before in zip(weights, weights_alone, first):
    replicas = strategy.experimental_local_results(weight)
    np.testing.assert_array_equal(replicas[0], replicas[1])
    np.testing.assert_allclose(replicas[0], other, rtol=1e-5, atol=1e-5 * np.abs(other).max())
    moved = max(moved, np.abs(other - before).max())
print("moved", moved)
'''


@pytest.mark.slow
def test_two_mirrored_devices_train_as_one_on_the_same_users(fresh_python):
    ran = fresh_python("-c", TWO_DEVICES)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert float(ran.stdout.split("moved ")[1]) > 0.01


@pytest.mark.slow
def test_the_example_of_the_page_runs(fresh_python, root):
    (block,) = re.findall(
        r"^```python\n(.*?)^```", (root / "docs" / "scaling.md").read_text(), re.MULTILINE | re.DOTALL
    )
    ran = fresh_python("-c", block)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.count("tf.Tensor(") == 2
