"""Seeds: equal keys, equal draws; hidden random state is refused."""

import zlib

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from recsim_ng.core.value import Value
from recsim_ng.entities.state_models import static

from recsys_po_rl.simulation import random_ops, seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

tfd = tfp.distributions
KEY = seeding.stateless_seed(3, "test")


def test_stateless_seed_depends_on_every_part_and_is_stable():
    seeds = {
        tuple(seeding.stateless_seed(*path)) for path in [(1,), (2,), (1, "a"), (1, "b"), (1, "a", 0), (1, 0, "a")]
    }
    assert len(seeds) == 6
    # The documented generator of NumPy: these numbers may never change, or published runs could not be repeated.
    assert seeding.stateless_seed(0, "world", "evaluation", 2).tolist() == [1646932791, 1451434139]
    assert seeding.stateless_seed(7).dtype == np.int32


def test_keys_share_the_world_between_batches_and_separate_the_policy():
    first, second = seeding.make_keys(1, "e", batch=0), seeding.make_keys(1, "e", batch=1)
    other_policy = seeding.make_keys(1, "e", batch=0, policy_seed=9)
    np.testing.assert_array_equal(first.shared, second.shared)
    assert not np.array_equal(first.world, second.world)
    np.testing.assert_array_equal(first.world, other_policy.world)
    assert not np.array_equal(first.policy, other_policy.policy)


def test_draws_depend_on_key_name_and_place_alone():
    def pair():
        return ed.Normal(loc=tf.zeros(4), scale=1.0), ed.Normal(loc=tf.zeros(4), scale=1.0)

    with seeding.seeded_draws(KEY, "a"):
        first = pair()
    with seeding.seeded_draws(KEY, "a"):
        again = pair()
    with seeding.seeded_draws(KEY, "b"):
        other = pair()
    np.testing.assert_array_equal(first[0].value, again[0].value)
    np.testing.assert_array_equal(first[1].value, again[1].value)
    assert not np.array_equal(first[0].value, first[1].value)
    assert not np.array_equal(first[0].value, other[0].value)


def test_given_values_and_sample_shapes_are_respected():
    with seeding.seeded_draws(KEY, "a") as drawn:
        observed = ed.Normal(loc=0.0, scale=1.0, value=7.0)
        many = ed.Normal(loc=tf.zeros(3), scale=1.0, sample_shape=5)
    assert float(observed.value) == 7.0
    assert many.shape == (5, 3)
    assert len(drawn.random_variables) == 1  # an observed variable draws nothing


def test_state_models_of_recsim_ng_with_hand_traced_draws_are_seeded():
    model = static.GMMVector(
        batch_ndims=1,
        mixture_logits=tf.zeros((4, 3)),
        component_means=tf.ones((4, 3, 2)),
        component_scales=0.5 * tf.ones((4, 3)),
        linear_operator_ctor=lambda scales: tf.linalg.LinearOperatorScaledIdentity(2, scales),
        return_component_id=True,
    )

    @tf.function(autograph=False)
    def draw():
        with seeding.seeded_draws(KEY, "mixture"):
            state = model.initial_state()
        seeding.refuse_stateful_draws("mixture", state, [])
        return state.get("component_id").value, state.get("state").value

    first, again = draw(), draw()
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert len(set(np.asarray(first[1]).ravel())) == 8


def test_draws_know_their_fields_and_parameters():
    with seeding.seeded_draws(KEY, "a") as drawn:
        kept = ed.Normal(loc=tf.constant([1.0, 2.0]), scale=0.5)
        ed.Independent(tfd.Deterministic(loc=tf.constant([3.0])), reinterpreted_batch_ndims=1)
    assert drawn.field_names(Value(x=kept)) == ["x", None]
    assert [3.0] in [np.asarray(parameter).tolist() for parameter in drawn.parameters]  # of the distribution inside


def test_replayed_draws_take_the_values_given_in_order():
    with seeding.replayed_draws([tf.constant([1.0, 2.0]), tf.constant(5)]) as replayed:
        normal = ed.Normal(loc=tf.zeros(2), scale=1.0)
        category = ed.Categorical(logits=tf.zeros(9))
    assert normal.value.numpy().tolist() == [1.0, 2.0]
    assert int(category.value) == 5
    np.testing.assert_allclose(
        replayed.random_variables[0].distribution.log_prob(normal.value),
        -0.5 * np.array([1.0, 4.0]) - 0.5 * np.log(2 * np.pi),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("draw", "op"),
    [
        (lambda: tf.random.normal([3]), "RandomStandardNormal"),
        (lambda: tf.random.uniform([3], maxval=4, dtype=tf.int32), "RandomUniformInt"),
        (lambda: tf.random.truncated_normal([3]), "TruncatedNormal"),
        (lambda: tf.random.categorical(tf.zeros([1, 4]), 3), "Multinomial"),
        (lambda: tfd.Normal(0.0, 1.0).sample(3), "Random"),
        (lambda: tf.random.shuffle(tf.range(3)), "RandomShuffle"),
        (lambda: tf.while_loop(lambda i, x: i < 2, lambda i, x: (i + 1, tf.random.normal([])), (0, 0.0))[1], "Random"),
        (tf.function(lambda: 2.0 * tf.random.normal([3])), "RandomStandardNormal"),
    ],
)
def test_a_stateful_random_op_is_refused_by_name(draw, op):
    @tf.function(autograph=False)
    def trace():
        seeding.refuse_stateful_draws("some variable", Value(x=draw()), [])

    with pytest.raises(RuntimeError, match=rf"'some variable' draws through the stateful random op \w*{op}"):
        trace()


def test_stateless_ops_and_unused_stateful_ones_are_allowed():
    @tf.function(autograph=False)
    def trace():
        tf.random.normal([3])  # reaches no field
        seeding.refuse_stateful_draws("v", Value(x=tf.random.stateless_normal([3], seed=KEY)), [])
        return tf.constant(1)

    assert int(trace()) == 1


@pytest.mark.slow
def test_a_slate_follows_from_the_seed_of_the_run_as_the_architecture_page_says():
    network = create_interest_evolution_simulation_network(num_users=3, num_topics=4, num_docs=7, corpus_seed=0)
    trajectory = SeededRuntime(network.variables, mode="eager").trajectory(
        3, keys=seeding.make_keys(5, "training", 17, batch=1)
    )
    key = tf.constant(seeding.stateless_seed(5, "policy", "training", 17, 1))  # batch 1 of training step 17
    for step in range(3):
        seed = random_ops.fold_in(random_ops.fold_in(key, step), zlib.crc32(b"slate docs/0") & 0x7FFFFFFF)
        seed = tfp.random.sanitize_seed(seed, salt="TopKPlackettLuce")
        state, docs = (
            trajectory[name].map(lambda field, step=step: field[step]) for name in ("recommender state", "corpus state")
        )
        slate = network.recommender.slate_distribution(state, docs).of_numbers(random_ops.uniform((3, 2), seed))
        np.testing.assert_array_equal(slate, trajectory["slate docs"].get("doc_ranks")[step])
