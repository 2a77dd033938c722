"""Parameters given as tensors or variables: kept, differentiable as recsim_ng's, and read at each run."""

import functools

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from recsim_ng.applications.recsys_partially_observable_rl import corpus as upstream_corpus
from recsim_ng.applications.recsys_partially_observable_rl import user as upstream_user
from recsim_ng.core import network as network_lib
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import log_probability
from recsim_ng.lib.tensorflow import runtime as runtime_lib
from recsim_ng.stories import recommendation_simulation

from recsys_po_rl import corpus, fields, metrics, simulation_config, user
from recsys_po_rl.common import parameters, validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

USERS, TOPICS, DOCS, SLATE, STEPS = 6, 5, 9, 2, 4
SIZES = dict(num_users=USERS, num_topics=TOPICS, num_docs=DOCS, history_length=3)
CONFIG = {**SIZES, "slate_size": SLATE}
EACH = np.linspace(0.1, 0.5, USERS).astype(np.float32)
USER_PARAMETERS = {
    "no_click_mass": 0.4,
    "interest_step_size": 0.3,
    "interest_update_noise_scale": 0.2,
    "max_user_affinity": 6.0,
}
CORPUS_PARAMETERS = {"topic_min_utility": -0.8, "topic_max_utility": 0.7, "video_length": 1.5}


def make_network(library, user_parameters, corpus_parameters):
    """Variables of a network of recsim_ng's world or of ours, with a recommender of ours that shows random slates."""
    users, corpora = (upstream_user, upstream_corpus) if library == "upstream" else (user, corpus)
    return recommendation_simulation.recs_story(
        CONFIG,
        functools.partial(users.InterestEvolutionUser, **user_parameters),
        functools.partial(corpora.CorpusWithTopicAndQuality, **corpus_parameters),
        UniformRandomRecommender,
        metrics.ConsumedTimeAsRewardMetrics,
    )


@pytest.fixture(scope="module")
def trajectory():
    tf.keras.utils.set_random_seed(3)
    variables = make_network("upstream", USER_PARAMETERS, CORPUS_PARAMETERS)
    return runtime_lib.TFRuntime(network_lib.Network(variables), graph_compile=False).trajectory(STEPS)


def log_prob(variables, trajectory, graph_compile=False):
    return log_probability.log_probability_from_value_trajectory(variables, trajectory, STEPS - 1, graph_compile)


def gradients(library, trajectory, as_given, per_user=False, graph_compile=False):
    """Gradients of the log-probability by parameter; None for a parameter without a gradient."""
    values = {**USER_PARAMETERS, **CORPUS_PARAMETERS}
    if per_user:
        values.update(no_click_mass=EACH, interest_step_size=EACH + 0.1, interest_update_noise_scale=EACH + 0.2)
    given = {name: as_given(value) for name, value in values.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(given.values()))
        variables = make_network(
            library, {name: given[name] for name in USER_PARAMETERS}, {name: given[name] for name in CORPUS_PARAMETERS}
        )
        value = log_prob(variables, trajectory, graph_compile)
    return float(value), tape.gradient(value, given)


@pytest.mark.slow
@pytest.mark.parametrize("as_given", [tf.constant, tf.Variable], ids=["tensor", "variable"])
@pytest.mark.parametrize("per_user", [False, True], ids=["common", "per_user"])
def test_gradients_of_a_recorded_trajectory_equal_upstreams(trajectory, as_given, per_user):
    expected, theirs = gradients("upstream", trajectory, as_given, per_user)
    found, ours = gradients("ours", trajectory, as_given, per_user)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    differentiable = {"no_click_mass", "interest_step_size", "interest_update_noise_scale"}
    differentiable |= {"topic_min_utility", "topic_max_utility"}
    for name, their in theirs.items():
        if name in differentiable:
            assert np.abs(their).max() > 0.0
        assert (ours[name] is None) == (their is None), name
        if their is not None:
            scale = max(np.abs(their).max(), 1.0)
            np.testing.assert_allclose(ours[name], their, rtol=1e-5, atol=1e-5 * scale, err_msg=name)


@pytest.mark.slow
def test_the_gradient_is_the_same_in_graph_mode(trajectory):
    _, eager = gradients("ours", trajectory, tf.Variable)
    _, graph = gradients("ours", trajectory, tf.Variable, graph_compile=True)
    for name in ("no_click_mass", "interest_step_size", "interest_update_noise_scale"):
        np.testing.assert_allclose(graph[name], eager[name], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def documents():
    return Value(**corpus.reference_corpus_state(DOCS, TOPICS, 4).map(tf.convert_to_tensor).as_dict)


@pytest.fixture(scope="module")
def interest():
    return tf.constant(np.random.RandomState(5).randn(USERS, TOPICS), tf.float32)


def slate_of(documents):
    indices = np.arange(USERS)[:, np.newaxis] + np.arange(SLATE)
    return documents.map(lambda field: tf.gather(field, indices % DOCS))


@pytest.mark.parametrize("name", ["max_user_affinity", "affinity_offset"])
def test_what_recsim_ng_computes_without_a_draw_has_the_gradient_of_finite_differences(name, documents, interest):
    def drawn_from(given):
        entity = user.InterestEvolutionUser(CONFIG, **{name: given})
        moved = entity.next_interest(2.0 * interest, slate_of(documents).map(lambda field: field[:, 0]))
        return tf.reduce_sum(tf.square(moved)) + tf.reduce_sum(tf.sin(entity.choice_logits(interest, documents)))

    given = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        value = drawn_from(given)
    found = float(tape.gradient(value, given))
    assert abs(found) > 0.1
    difference = float(drawn_from(3.0 + 1e-2) - drawn_from(3.0 - 1e-2)) / 2e-2
    np.testing.assert_allclose(found, difference, rtol=1e-2)


@pytest.mark.parametrize("choice_is_made", ["before the tape", "within the tape"])
def test_a_tensor_watched_after_construction_has_a_gradient(choice_is_made, documents, interest):
    mass = tf.constant(0.3)
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=mass)
    with tf.GradientTape() as tape:
        tape.watch(mass)
        if choice_is_made == "within the tape":
            entity = user.InterestEvolutionUser(CONFIG, no_click_mass=mass)
        choice = entity.next_response(Value(**{fields.INTEREST: interest}), slate_of(documents)).get(fields.CHOICE)
        value = tf.reduce_sum(choice.distribution.log_prob(tf.fill((USERS,), SLATE)))
    assert float(tape.gradient(value, mass)) > 0.0


LATE = {
    "variable": lambda number: (variable := tf.Variable(number), variable),
    "float64 variable": lambda number: (variable := tf.Variable(number, dtype=tf.float64), variable),
    "deferred tensor": lambda number: (variable := tf.Variable(number), tfp.util.DeferredTensor(variable, tf.identity)),
    "variable of each user": lambda number: (variable := tf.Variable([number] * USERS), variable),
    "list of a variable and numbers": lambda number: (
        variable := tf.Variable(number), [variable] * (USERS - 1) + [number]
    ),
}  # fmt: skip


def network_of(**user_parameters):
    return simulation_config.create_interest_evolution_simulation_network(
        **SIZES, corpus_seed=1, user_ctor=functools.partial(user.InterestEvolutionUser, **user_parameters),
        recommender_ctor=UniformRandomRecommender,
    )  # fmt: skip


def clicks(runtime):
    return runtime.trajectory(STEPS, record={fields.USER_RESPONSE: [fields.CHOICE]})[fields.USER_RESPONSE].get(
        fields.CHOICE
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", LATE)
def test_a_traced_function_reads_a_variable_at_each_call(kind, documents, interest):
    variable, given = LATE[kind](-60.0)
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=given)

    @tf.function
    def logits():
        response = entity.next_response(Value(**{fields.INTEREST: interest}), slate_of(documents))
        return entity.choice_logits(interest, documents)[:, -1], response.get(fields.CHOICE).distribution.logits[:, -1]

    for found in logits():
        np.testing.assert_array_equal(found, np.full(USERS, -60.0))
    variable.assign(tf.fill(variable.shape, tf.cast(60.0, variable.dtype)))
    unaffected = 1 if kind.startswith("list") else 0
    for found in logits():
        np.testing.assert_array_equal(found, [60.0] * (USERS - unaffected) + [-60.0] * unaffected)


@pytest.mark.slow
def test_a_compiled_runtime_reads_a_variable_at_each_run():
    mass = tf.Variable(-60.0)
    runtime = SeededRuntime(network_of(no_click_mass=mass).variables)
    assert np.all(clicks(runtime) < SLATE)
    mass.assign(60.0)
    assert np.all(clicks(runtime) == SLATE)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "xla"])
def test_so_do_other_modes(mode):
    mass = tf.Variable(-60.0)
    runtime = SeededRuntime(network_of(no_click_mass=mass).variables, mode=mode)
    assert np.all(clicks(runtime) < SLATE)
    mass.assign(60.0)
    assert np.all(clicks(runtime) == SLATE)


@pytest.mark.slow
def test_a_run_with_variables_equals_one_with_numbers_and_follows_each_of_them():
    values = {**USER_PARAMETERS, "affinity_offset": 1.0}
    variables = {name: tf.Variable(0.5) for name in values}
    runtime = SeededRuntime(network_of(**variables).variables)
    record = {fields.USER_STATE: [fields.INTEREST]}
    first = runtime.trajectory(STEPS, record=record)[fields.USER_STATE].get(fields.INTEREST)
    for name, variable in variables.items():
        variable.assign(values[name])
    found = runtime.trajectory(STEPS, record=record)[fields.USER_STATE].get(fields.INTEREST)
    expected = SeededRuntime(network_of(**values).variables).trajectory(STEPS, record=record)
    np.testing.assert_allclose(found, expected[fields.USER_STATE].get(fields.INTEREST), rtol=1e-5, atol=1e-5)
    assert np.abs(found - first).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "culprit", "mode"),
    [("no_click_mass", fields.USER_RESPONSE, "graph"), ("interest_step_size", fields.USER_STATE, "xla")],
)
def test_a_variable_that_is_nan_at_run_time_is_named_by_the_runtime(name, culprit, mode):
    variable = tf.Variable(np.nan)
    runtime = SeededRuntime(network_of(**{name: variable}).variables, mode=mode)
    with pytest.raises(FloatingPointError, match=repr(culprit)):
        runtime.trajectory(STEPS)


def test_a_corpus_reads_variables_whenever_it_is_drawn():
    values = {**CORPUS_PARAMETERS, "quality_stddev": 0.3, "feature_stddev": 0.4}
    variables = {name: tf.Variable(0.0) for name in values}
    entity = corpus.CorpusWithTopicAndQuality(CONFIG, **variables)
    for name, variable in variables.items():
        variable.assign(values[name])

    def drawn(entity):
        with seeding.seeded_draws(seeding.stateless_seed(1), "corpus"):
            return entity.initial_state()

    expected = drawn(corpus.CorpusWithTopicAndQuality(CONFIG, **values)).as_dict
    for field, value in drawn(entity).as_dict.items():
        theirs = tf.convert_to_tensor(expected[field]).numpy()
        np.testing.assert_allclose(tf.convert_to_tensor(value).numpy(), theirs, rtol=1e-6, atol=1e-6, err_msg=field)


def test_topic_means_equal_those_of_numbers():
    for fraction in (0.0, 0.3, 0.7, 1.0):
        expected = corpus.topic_mean_qualities(TOPICS, -0.8, 0.7, fraction)
        entity = corpus.CorpusWithTopicAndQuality(CONFIG, tf.constant(-0.8), 0.7, trashy_fraction=fraction)
        np.testing.assert_allclose(entity._topic_means(), expected, atol=1e-6)


@pytest.mark.parametrize("as_given", [tf.Variable, tf.constant], ids=["variable", "tensor"])
def test_a_static_corpus_keeps_its_fields(as_given, documents):
    quality = as_given(documents.get(fields.DOC_QUALITY))
    state = {**documents.as_dict, fields.DOC_QUALITY: quality}
    length = tf.Variable(1.0)
    entity = corpus.StaticCorpus(CONFIG, Value(**state), video_length=length)
    length.assign(3.0)
    if as_given is tf.Variable:
        quality.assign(tf.zeros_like(quality))
    with tf.GradientTape() as tape:
        tape.watch(quality)
        first = Value(**tf.function(lambda: entity.initial_state().as_dict)())
        total = tf.reduce_sum(tf.sigmoid(first.get(fields.DOC_QUALITY)) * first.get(fields.DOC_LENGTH))
    np.testing.assert_array_equal(first.get(fields.DOC_QUALITY), quality)
    probability = tf.sigmoid(quality)
    of_quality, of_length = tape.gradient(total, [quality, length])
    np.testing.assert_allclose(of_quality, 3.0 * probability * (1.0 - probability), rtol=1e-5)
    np.testing.assert_allclose(of_length, tf.reduce_sum(probability), rtol=1e-5)


def test_entities_own_the_variables_they_were_given():
    variables = {name: tf.Variable(0.5, name=name) for name in (*USER_PARAMETERS, "affinity_offset")}
    entity = user.InterestEvolutionUser(CONFIG, **variables)
    assert {id(variable) for variable in entity.trainable_variables} == {id(one) for one in variables.values()}


@pytest.mark.parametrize("per_user", [False, True], ids=["common", "per_user"])
def test_planners_plan_with_variables(per_user, documents, interest):
    numbers = {name: EACH if per_user else 0.4 for name in ("no_click_mass", "interest_step_size")}
    steps_left = tf.fill((USERS,), 2.0)

    def plan(entity):
        return planning.plan(
            entity, documents, interest, steps_left, SLATE, lambda interest, _: tf.reduce_sum(interest, axis=-1)
        )

    variables = {name: tf.Variable(value) for name, value in numbers.items()}
    expected = plan(user.InterestEvolutionUser(CONFIG, **numbers))
    found = plan(user.InterestEvolutionUser(CONFIG, max_user_affinity=tf.Variable(10.0), **variables))
    np.testing.assert_array_equal(found.ranks, expected.ranks)
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-5)


def test_a_bound_that_is_a_tensor_leaves_the_specs_unbounded():
    specs = user.InterestEvolutionUser(CONFIG, max_user_affinity=tf.constant(10.0)).specs().as_dict
    assert np.all(np.isposinf(specs["state.interest.state"].space.high))


SYMBOLIC = tf.TensorSpec(None)


def test_symbolic_tensors_of_any_known_or_unknown_shape_are_kept(documents, interest):
    @tf.function(input_signature=[SYMBOLIC])
    def logits(mass):
        return user.InterestEvolutionUser(CONFIG, no_click_mass=mass).choice_logits(interest, documents)

    for mass in (0.7, EACH):
        expected = user.InterestEvolutionUser(CONFIG, no_click_mass=mass).choice_logits(interest, documents)
        np.testing.assert_allclose(logits(tf.constant(mass)), expected, rtol=1e-6)


class _ChoiceWithWeights:
    def __init__(self, batch_shape, no_click_logits):
        self.variables = [tf.Variable(0.0)]


RAGGED = tf.ragged.constant([[1.0], [2.0, 3.0]])
BAD = [
    ("no_click_mass", lambda: tf.zeros(5), "no_click_mass must be a number or 6 numbers, got a tensor of shape (5,)"),
    ("no_click_mass", lambda: tf.Variable([[0.0]]), "got a tensor of shape (1, 1)"),
    ("no_click_mass", lambda: [tf.Variable(0.0)], "got a tensor of shape (1,)"),
    ("no_click_mass", lambda: [tf.Variable([0.0])] * 6, "no_click_mass of each user must be a number"),
    ("no_click_mass", lambda: RAGGED, "dense where a tensor, got a RaggedTensor"),
    ("interest_step_size", lambda: tf.constant("a"), "must be a number or 6 numbers, got a tensor of string"),
    ("interest_step_size", lambda: tf.Variable(True), "must be a number or 6 numbers, got a tensor of bool"),
    ("interest_update_noise_scale", lambda: tf.zeros((6, 5)), "got a tensor of shape (6, 5)"),
    ("max_user_affinity", lambda: tf.ones(6), "max_user_affinity must be a number, got a tensor of shape (6,)"),
    ("affinity_offset", lambda: tf.Variable([1.0]), "affinity_offset must be a number, got a tensor of shape (1,)"),
    ("affinity_offset", lambda: tf.constant(1j), "affinity_offset must be a number, got a tensor of complex128"),
]


def first_line(refused):
    """The message; gin adds lines to it."""
    return str(refused.value).splitlines()[0]


@pytest.mark.parametrize(("name", "given", "message"), BAD)
def test_tensors_of_another_shape_or_type_are_refused_in_one_line(name, given, message):
    with pytest.raises(validation.InvalidInputError) as refused:
        user.InterestEvolutionUser(CONFIG, **{name: given()})
    assert message in first_line(refused)


@pytest.mark.parametrize("name", [*CORPUS_PARAMETERS, "quality_stddev", "feature_stddev"])
def test_a_corpus_refuses_tensors_that_are_no_scalars(name):
    with pytest.raises(validation.InvalidInputError, match=rf"{name} must be a number, got a tensor of shape \(2,\)"):
        corpus.CorpusWithTopicAndQuality(CONFIG, **{name: tf.Variable([0.5, 0.5])})


def test_a_static_corpus_refuses_variables_of_another_shape(documents):
    state = {**documents.as_dict, fields.DOC_QUALITY: tf.Variable(tf.zeros(DOCS + 1))}
    with pytest.raises(validation.InvalidInputError, match=r"'doc_quality' must have shape \(9,\), got \(10,\)"):
        corpus.StaticCorpus(CONFIG, Value(**state))


def test_a_choice_model_with_weights_needs_a_no_click_mass_of_numbers():
    user.InterestEvolutionUser(CONFIG, choice_model_ctor=_ChoiceWithWeights)
    with pytest.raises(
        validation.InvalidInputError, match="no_click_mass must be numbers where choice_model_ctor makes"
    ):
        user.InterestEvolutionUser(CONFIG, choice_model_ctor=_ChoiceWithWeights, no_click_mass=tf.Variable(0.0))


def test_messages_of_long_arrays_are_one_line():
    with pytest.raises(validation.InvalidInputError) as refused:
        user.InterestEvolutionUser({**CONFIG, "num_users": 60}, no_click_mass=np.full(60, np.nan))
    assert first_line(refused).endswith("nan])")


def test_a_random_variable_stands_for_its_value(documents, interest):
    mass = ed.Normal(loc=0.0, scale=1.0)
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=mass, affinity_offset=mass)
    np.testing.assert_allclose(entity.choice_logits(interest, documents)[:, -1], np.full(USERS, mass.value.numpy()))


# As recsim_ng's demonstration of latent-variable learning: what a recorded trajectory says of a parameter.

MANY = 300
TRUE_MASS = 0.8


@pytest.fixture(scope="module")
def responses():
    """Interests, slates and choices of many users with the true no-click mass, after one step."""
    config = {**CONFIG, "num_users": MANY}
    random = np.random.RandomState(11)
    interest = tf.constant(random.randn(MANY, TOPICS), tf.float32)
    slate = corpus.reference_corpus_state(DOCS, TOPICS, 4).map(
        lambda field: tf.gather(field, random.randint(0, DOCS, (MANY, SLATE)))
    )
    state = Value(**{fields.INTEREST: interest})
    with seeding.seeded_draws(seeding.stateless_seed(2), "responses"):
        choice = user.InterestEvolutionUser(config, no_click_mass=TRUE_MASS).next_response(state, slate).get("choice")
    return config, state, slate, tf.convert_to_tensor(choice)


def response_log_prob(entity, responses):
    _, state, slate, choice = responses
    return tf.reduce_sum(entity.next_response(state, slate).get(fields.CHOICE).distribution.log_prob(choice))


def test_gradient_ascent_recovers_the_no_click_mass(responses):
    mass = tf.Variable(-1.0)
    entity = user.InterestEvolutionUser(responses[0], no_click_mass=mass)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            value = response_log_prob(entity, responses)
        mass.assign_add(tape.gradient(value, mass) / 50.0)

    for _ in range(60):
        step()
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            value = response_log_prob(entity, responses)
        slope = inner.gradient(value, mass)
    information = -float(outer.gradient(slope, mass))
    assert abs(float(slope)) < 1e-2  # at the maximum
    assert abs(float(mass) - TRUE_MASS) < 4.0 / np.sqrt(information)  # four standard errors


@pytest.mark.slow
def test_hamiltonian_monte_carlo_takes_steps(responses):
    def target(mass):
        return response_log_prob(user.InterestEvolutionUser(responses[0], no_click_mass=mass), responses)

    kernel = tfp.mcmc.HamiltonianMonteCarlo(target, step_size=0.05, num_leapfrog_steps=2)

    @tf.function
    def sample():
        return tfp.mcmc.sample_chain(
            3, current_state=tf.constant(TRUE_MASS), kernel=kernel, seed=[1, 2],
            trace_fn=lambda _, results: (results.is_accepted, results.accepted_results.target_log_prob),
        )  # fmt: skip

    states, (accepted, log_probs) = sample()
    assert np.any(accepted)
    assert np.all(np.isfinite(log_probs))
    assert len(np.unique(states)) > 1
    entity = user.InterestEvolutionUser(responses[0], no_click_mass=float(states[-1]))
    np.testing.assert_allclose(log_probs[-1], response_log_prob(entity, responses), rtol=1e-5)


def test_read_leaves_floats_and_casts_everything_else():
    assert parameters.read(0.1) == 0.1
    assert parameters.read(tf.Variable(0.1, dtype=tf.float64)).dtype == tf.float32
