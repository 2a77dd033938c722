"""Global settings of a process: dtype policies, distribution strategies, warnings; and inputs of unusual forms."""

import functools
import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value, ValueSpec
from recsim_ng.lib.tensorflow import field_spec

from recsys_po_rl import recommender, scoring, simulation_config
from recsys_po_rl.common import validation
from recsys_po_rl.distributions import top_k_plackett_luce
from recsys_po_rl.evaluation.results import MeanInterval
from recsys_po_rl.experiment import run
from recsys_po_rl.recommender import FullInformationRecommender
from recsys_po_rl.reporting import tables
from recsys_po_rl.scoring.interest import InterestModel
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.training.critic import LearnedValue
from recsys_po_rl.training.learner import PolicyGradientLearner

SCORERS = [scoring.AveragedHistoryModel, scoring.CollabFilteringModel, scoring.GRUModel, scoring.SelfAttentionModel]
USERS, DOCS, HISTORY = 4, 6, 3


def network_of(scorer=scoring.CollabFilteringModel):
    sees_all = scorer is InterestModel
    entity = FullInformationRecommender if sees_all else recommender.CollabFilteringRecommender
    return simulation_config.create_interest_evolution_simulation_network(
        num_users=USERS, num_topics=4, num_docs=DOCS, history_length=HISTORY, corpus_seed=1,
        full_information=sees_all, recommender_ctor=functools.partial(entity, model_ctor=scorer, doc_embed_dim=8),
    )  # fmt: skip


@pytest.fixture
def policy(request):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    tf.keras.mixed_precision.set_global_policy(before)


FAST = ("mixed_float16", scoring.GRUModel)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "scorer"),
    [
        pytest.param(*case, marks=() if case == FAST else pytest.mark.slow)
        for case in [
            *itertools.product(("mixed_float16",), (*SCORERS, InterestModel)),
            ("mixed_bfloat16", SCORERS[0]),
            ("mixed_bfloat16", InterestModel),
            ("float64", SCORERS[0]),
        ]
    ],
    indirect=["policy"],
)
def test_training_with_a_critic_works_under_any_global_policy(policy, scorer):
    network = network_of(scorer)
    network.recommender.specs()
    eager = functools.partial(SeededRuntime, mode="eager")
    learner = PolicyGradientLearner(network, horizon=2, critic=LearnedValue, runtime_ctor=eager)
    before = [np.array(variable) for variable in learner.critic.weights]
    result = learner.step([seeding.make_keys(1)])
    assert np.isfinite(result.gradient_norm)
    assert np.isfinite(result.critic_gradient_norm)
    assert any(np.any(then != now) for then, now in zip(before, learner.critic.weights, strict=True))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_logits_are_drawn_from_in_float32(dtype):
    logits = tf.cast([0.0, 1.0, 2.0, -1.0], dtype)
    law, expected = (
        top_k_plackett_luce.TopKPlackettLuce(logits, 2),
        top_k_plackett_luce.TopKPlackettLuce(tf.cast(logits, tf.float32), 2),
    )
    drawn = law.sample(200, seed=[1, 2])
    np.testing.assert_array_equal(drawn, expected.sample(200, seed=[1, 2]))
    np.testing.assert_array_equal(law.log_prob(drawn), expected.log_prob(drawn))


def test_a_strategy_is_refused_in_one_line():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    outside = network_of()
    with strategy.scope():
        within = network_of()
        with pytest.raises(
            validation.InvalidInputError, match=r"^PolicyGradientLearner cannot learn under a tf.distribute"
        ):
            PolicyGradientLearner(outside, horizon=2)
        with pytest.raises(validation.InvalidInputError, match=r"^experiment cannot run under a tf\.distribute"):
            run.experiment()
    with pytest.raises(
        validation.InvalidInputError, match=r"^PolicyGradientLearner cannot learn under a tf.distribute"
    ):
        PolicyGradientLearner(within, horizon=2)


def counter():
    """The smallest network: a number that grows."""
    made = variable.Variable("counter", ValueSpec(number=field_spec.FieldSpec()))
    made.initial_value = variable.value(lambda: Value(number=tf.zeros((2,))))
    made.value = variable.value(lambda previous: Value(number=previous.get("number") + 1.0), (made.previous,))
    return made


@pytest.mark.slow
def test_many_runtimes_in_one_process_print_no_retracing_warnings(caplog):
    with caplog.at_level(logging.WARNING, logger="tensorflow"):
        for _ in range(8):  # TensorFlow warns from the fifth trace of the same code on
            SeededRuntime([counter()]).trajectory(2)
    assert "retracing" not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("scorer", SCORERS)
def test_a_built_scorer_is_exported(scorer, tmp_path):
    model = scorer(USERS, DOCS, 8, HISTORY)
    model.build((None, HISTORY))
    model.export(str(tmp_path / "exported"))
    ids, times = tf.constant([[0, 1, 6], [2, 2, 3]]), tf.constant([[0.0, 1.0, 0.5], [0.1, 0.2, 0.3]])
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(ids, times), model(ids, times), rtol=1e-5, atol=1e-6)


IDS, TIMES = np.ones((2, HISTORY), np.int32), np.ones((2, HISTORY), np.float32)
UNUSUAL = {
    "ragged ids": ((tf.RaggedTensor.from_tensor(IDS), TIMES), "doc_id_history must be .*, got a RaggedTensor"),
    "ragged times": ((IDS, tf.RaggedTensor.from_tensor(TIMES)), "c_time_history must be .*, got a RaggedTensor"),
    "sparse ids": ((tf.sparse.from_dense(IDS), TIMES), "doc_id_history must be .*, got a SparseTensor"),
    "sparse times": ((IDS, tf.sparse.from_dense(TIMES)), "c_time_history must be .*, got a SparseTensor"),
}


@pytest.mark.parametrize("form", UNUSUAL)
@pytest.mark.parametrize("scorer", SCORERS)
def test_ragged_and_sparse_inputs_are_refused_by_name(scorer, form):
    inputs, message = UNUSUAL[form]
    model = scorer(USERS, DOCS, 8, HISTORY)
    for arguments in (inputs, (inputs,)):
        with pytest.raises(TypeError, match=message):
            model(*arguments)


def test_the_console_prints_no_negative_zero():
    assert tables.percent(-0.001) == "0%"
    assert tables.percent_interval([-0.001, 0.5]) == "[0%, 50%]"
    assert tables.interval([-0.001, 0.5]) == "[0.00, 0.50]"
    assert tables.estimate(MeanInterval(mean=-0.001, interval95=[-0.5, -0.0])) == "0.00 [-0.50, 0.00]"
