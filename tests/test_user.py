"""Users: their laws against NumPy, their story against upstream's, and upstream's faults beside what stands here."""

import functools
import inspect
import math

import edward2 as ed
import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.applications.recsys_partially_observable_rl import user as upstream
from recsim_ng.core import network as network_lib
from recsim_ng.core import value
from recsim_ng.entities.choice_models import affinities, selectors
from recsim_ng.entities.state_models import static
from recsim_ng.lib.tensorflow import runtime as tf_runtime

from recsys_po_rl import fields, simulation_config, user
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding

Value = value.Value

NUM_USERS, NUM_TOPICS, SLATE_SIZE = 6, 4, 3
CONFIG = {"num_users": NUM_USERS, "num_topics": NUM_TOPICS, "slate_size": SLATE_SIZE}
NETWORK_SIZES = {"num_users": NUM_USERS, "num_topics": NUM_TOPICS, "num_docs": 7, "history_length": 5, "corpus_seed": 3}
CHOICES = np.array([0, 3, 2, 1, 3, 2], np.int32)  # 3 is "no click"
STEP_SIZES = np.linspace(0.05, 0.4, NUM_USERS).astype(np.float32)
MASSES = np.array([-1.0, 0.5, -np.inf, 2.0, 0.0, 1.0], np.float32)
TOLERANCE = 0.01  # of an empirical distribution function, or of a frequency
SEEDS = (1, 2)


def array(field):
    """The numbers of a tensor, a random variable or an array."""
    return tf.convert_to_tensor(field).numpy()


def draws_needed(tolerance, failure=1e-7):
    """Draws after which a distribution function is off by `tolerance` with that probability at most (Massart 1990)."""
    return math.ceil(math.log(2 / failure) / (2 * tolerance**2))


def distance_from_normal(sample):
    """Largest gap between the distribution function of `sample` and the standard normal one."""
    ordered = np.sort(np.ravel(sample).astype(np.float64))
    exact = 0.5 * (1 + np.vectorize(math.erf)(ordered / math.sqrt(2)))
    count = len(ordered)
    return max(np.max(np.arange(1, count + 1) / count - exact), np.max(exact - np.arange(count) / count))


def seeded(seed, name=fields.USER_STATE):
    return seeding.seeded_draws(seeding.stateless_seed(seed, "test"), name)


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def squash_oracle(interest, limit=10.0):
    return 4 * limit * (sigmoid(np.asarray(interest, np.float64) / limit) - 0.5)


def softmax(logits):
    weights = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def moved_oracle(interest, slate, choices, step_sizes):
    """Interest before the squash, user by user."""
    moved = np.array(interest, np.float64)
    for person, choice in enumerate(choices):
        if choice < SLATE_SIZE:
            quality, features = slate["doc_quality"][person, choice], slate["doc_features"][person, choice]
            moved[person] += step_sizes[person] * quality * (features - moved[person])
    return moved


def logits_oracle(interest, slate, masses):
    rows = []
    for person in range(len(interest)):
        distances = [math.dist(interest[person], features) for features in slate["doc_features"][person]]
        rows.append([2.0 - distance for distance in distances] + [masses[person]])
    return np.array(rows)


def times_oracle(slate, choices):
    times = np.full(len(choices), -1.0)
    for person, choice in enumerate(choices):
        if choice < SLATE_SIZE:
            times[person] = slate["doc_length"][person, choice] * sigmoid(-slate["doc_quality"][person, choice])
    return times


def assert_in_specs(specs, val):
    assert list(specs.as_dict) == list(val.as_dict)
    for name, field in val.as_dict.items():
        numbers, box = array(field), specs.as_dict[name].space
        if name != fields.CHOICE:  # the choice model's spec is recsim_ng's: float for an integer
            assert numbers.dtype == box.dtype, name
        assert numbers.shape == box.shape, name
        assert np.all(numbers >= box.low), name
        assert np.all(numbers <= box.high), name


@pytest.fixture(scope="module")
def slate():
    random_state = np.random.RandomState(8)
    return {
        "doc_quality": random_state.randn(NUM_USERS, SLATE_SIZE).astype(np.float32),
        "doc_features": random_state.randn(NUM_USERS, SLATE_SIZE, NUM_TOPICS).astype(np.float32),
        "doc_length": random_state.uniform(1, 3, (NUM_USERS, SLATE_SIZE)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def docs(slate):
    return Value(**{name: tf.constant(field) for name, field in slate.items()})


@pytest.fixture(scope="module")
def interest():
    return (2 * np.random.RandomState(9).randn(NUM_USERS, NUM_TOPICS)).astype(np.float32)


@pytest.fixture(scope="module")
def entity():
    return user.InterestEvolutionUser(CONFIG)


def state_at(interest):
    """A user state as a runtime would hand it over, at the given interest."""
    interest = tf.convert_to_tensor(interest)
    update = Value(state=interest, tbranch=Value(state=interest), fbranch=Value(state=interest))
    return Value(interest=Value(state=interest, linear_update=update))


def response_of(slate, choices=CHOICES):
    return Value(
        consumed_time=tf.constant(times_oracle(slate, choices), tf.float32), choice=tf.constant(choices, tf.int32)
    )


# Laws.


@pytest.mark.parametrize("seed", SEEDS)
def test_first_interests_are_standard_normal(seed):
    count = draws_needed(TOLERANCE)
    entity = user.InterestEvolutionUser({**CONFIG, "num_users": count})
    with seeded(seed):
        drawn = array(entity.initial_state().get(fields.INTEREST))
    assert drawn.shape == (count, NUM_TOPICS)
    for column in drawn.T:
        assert distance_from_normal(column) < TOLERANCE
    # Of n independent standard normal rows: an entry's standard deviation is at most sqrt(2 / n); six of it.
    np.testing.assert_allclose(drawn.T @ drawn / count, np.eye(NUM_TOPICS), atol=6 * math.sqrt(2 / count))


def test_first_value_has_one_interest_in_three_fields(entity):
    first = entity.initial_state()
    for field in ("interest.linear_update.state", "interest.linear_update.tbranch.state"):
        np.testing.assert_array_equal(array(first.get(field)), array(first.get(fields.INTEREST)))
    law = first.get("interest.linear_update.tbranch.state").distribution
    np.testing.assert_array_equal(law.mean(), np.zeros((NUM_USERS, NUM_TOPICS)))
    np.testing.assert_array_equal(law.stddev(), np.ones((NUM_USERS, NUM_TOPICS)))
    unused = array(first.get("interest.linear_update.fbranch.state"))
    assert not np.array_equal(unused, array(first.get(fields.INTEREST)))


@pytest.mark.parametrize("step_size", [0.1, 0.37, STEP_SIZES, list(map(float, STEP_SIZES))], ids=str)
@pytest.mark.parametrize("limit", [10.0, 3.0])
def test_interest_moves_then_is_squashed(slate, docs, interest, step_size, limit):
    entity = user.InterestEvolutionUser(CONFIG, interest_step_size=step_size, max_user_affinity=limit)
    following = entity.next_state(state_at(interest), response_of(slate), docs)
    moved = moved_oracle(interest, slate, CHOICES, np.broadcast_to(step_size, NUM_USERS))
    np.testing.assert_allclose(array(following.get("interest.linear_update.state")), moved, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(array(following.get(fields.INTEREST)), squash_oracle(moved, limit), rtol=1e-5, atol=1e-5)


def test_interest_step_worked_by_hand():
    config = {"num_users": 1, "num_topics": 2, "slate_size": 1}
    docs = Value(
        doc_quality=tf.constant([[-0.5]]), doc_features=tf.constant([[[3.0, 1.0]]]), doc_length=tf.constant([[2.0]])
    )
    entity = user.InterestEvolutionUser(config)
    clicked = Value(consumed_time=tf.constant([1.2]), choice=tf.constant([0]))
    nothing = Value(consumed_time=tf.constant([-1.0]), choice=tf.constant([1]))
    before = state_at([[1.0, -1.0]])
    # 1 - 0.05 * (3 - 1) = 0.9 and -1 - 0.05 * (1 + 1) = -1.1
    moved = entity.next_state(before, clicked, docs).get("interest.linear_update.state")
    np.testing.assert_allclose(array(moved), [[0.9, -1.1]], atol=1e-6)
    # 40 * (sigmoid(0.1) - 0.5) = 0.999167...
    kept = entity.next_state(before, nothing, docs).get(fields.INTEREST)
    np.testing.assert_allclose(array(kept), [[0.9991674, -0.9991674]], atol=1e-6)


def test_branches_hold_the_previous_and_the_moved_interest(slate, docs, interest, entity):
    following = entity.next_state(state_at(interest), response_of(slate), docs)
    np.testing.assert_array_equal(array(following.get("interest.linear_update.tbranch.state")), interest)
    # Users without a click too: there features and quality are -1.
    expected = moved_oracle(interest, slate, CHOICES, np.full(NUM_USERS, 0.1))
    without = CHOICES == SLATE_SIZE
    expected[without] = interest[without] + 0.1 * -1 * (-1 - interest[without])
    fbranch = following.get("interest.linear_update.fbranch.state")
    np.testing.assert_allclose(array(fbranch), expected, rtol=1e-5, atol=1e-5)


def test_what_was_consumed_decides_by_time_not_by_choice(slate, docs, interest, entity):
    response = Value(consumed_time=tf.zeros((NUM_USERS,)), choice=tf.constant(CHOICES % SLATE_SIZE))
    moved = entity.next_state(state_at(interest), response, docs).get("interest.linear_update.state")
    expected = moved_oracle(interest, slate, CHOICES % SLATE_SIZE, np.full(NUM_USERS, 0.1))
    np.testing.assert_allclose(array(moved), expected, rtol=1e-5, atol=1e-5)  # time 0 counts as consumed


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("step_size", [0.1, STEP_SIZES], ids=["one", "per_user"])
def test_next_state_equals_upstreams_to_the_last_bit(slate, docs, interest, step_size, compiled):
    def step_of(library):
        entity = library.InterestEvolutionUser(CONFIG, interest_step_size=step_size)

        def step(state, quality, features, length, choice, time):
            shown = Value(doc_quality=quality, doc_features=features, doc_length=length)
            return (
                entity.next_state(state_at(state), Value(choice=choice, consumed_time=time), shown)
                .map(tf.convert_to_tensor)
                .as_dict
            )

        return tf.function(step) if compiled else step

    response = response_of(slate)
    arguments = (*map(docs.get, slate), response.get("choice"), response.get("consumed_time"))
    state = tf.constant(interest)
    for _ in range(5):
        ours, theirs = step_of(user)(state, *arguments), step_of(upstream)(state, *arguments)
        for name in theirs:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        state = ours[fields.INTEREST]


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_normal_around_the_moved_interest(seed):
    count = draws_needed(TOLERANCE)
    scales = np.linspace(0.2, 0.9, count).astype(np.float32)
    random_state = np.random.RandomState(seed)
    start = random_state.randn(count, NUM_TOPICS).astype(np.float32)
    shown = Value(
        doc_quality=tf.constant(random_state.randn(count, SLATE_SIZE), tf.float32),
        doc_features=tf.constant(random_state.randn(count, SLATE_SIZE, NUM_TOPICS), tf.float32),
    )
    entity = user.InterestEvolutionUser({**CONFIG, "num_users": count}, interest_update_noise_scale=scales)
    clicked = Value(choice=tf.fill((count,), 1), consumed_time=tf.ones((count,)))
    with seeded(seed):
        following = entity.next_state(state_at(start), clicked, shown)
    update = array(following.get("interest.linear_update.state"))
    direction = array(shown.get("doc_features"))[:, 1] - start
    without_noise = start + 0.1 * array(shown.get("doc_quality"))[:, 1, None] * direction
    residual = (update - without_noise) / scales[:, None]
    for column in residual.T:
        assert distance_from_normal(column) < TOLERANCE
    np.testing.assert_allclose(residual.T @ residual / count, np.eye(NUM_TOPICS), atol=6 * math.sqrt(2 / count))
    np.testing.assert_allclose(array(following.get(fields.INTEREST)), squash_oracle(update), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scale", [0.3, STEP_SIZES], ids=["one", "per_user"])
def test_noise_law_is_exact_and_spares_users_without_a_click(slate, docs, interest, scale):
    entity = user.InterestEvolutionUser(CONFIG, interest_update_noise_scale=scale)
    theirs = upstream.InterestEvolutionUser(CONFIG, interest_update_noise_scale=scale)
    following = entity.next_state(state_at(interest), response_of(slate), docs)
    law = following.get("interest.linear_update.fbranch.state").distribution
    other = theirs.next_state(state_at(interest), response_of(slate), docs)
    other_law = other.get("interest.linear_update.fbranch.state").distribution
    stddevs = np.broadcast_to(np.reshape(scale, (-1, 1)), (NUM_USERS, NUM_TOPICS))
    np.testing.assert_allclose(law.stddev(), stddevs, rtol=1e-6)
    np.testing.assert_array_equal(law.mean(), other_law.mean())
    np.testing.assert_allclose(law.log_prob(interest), other_law.log_prob(interest), rtol=1e-5)
    without = CHOICES == SLATE_SIZE
    update = array(following.get("interest.linear_update.state"))
    np.testing.assert_array_equal(update[without], interest[without])
    assert np.all(update[~without] != interest[~without])


@pytest.mark.parametrize("mass", [0.0, 0.8, MASSES, -math.inf], ids=["zero", "one", "per_user", "never"])
def test_choice_logits_are_affinities_then_the_no_click_mass(slate, docs, interest, mass):
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=mass)
    expected = logits_oracle(interest, slate, np.broadcast_to(mass, NUM_USERS))
    response = entity.next_response(state_at(interest), docs)
    drawn_from = response.get("choice").distribution.probs_parameter()
    np.testing.assert_allclose(drawn_from, softmax(expected), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(entity.choice_logits(tf.constant(interest), docs), expected, rtol=1e-5, atol=1e-5)
    theirs = upstream.InterestEvolutionUser(CONFIG, no_click_mass=mass).next_response(state_at(interest), docs)
    np.testing.assert_array_equal(response.get("choice").distribution.logits, theirs.get("choice").distribution.logits)


def responses_of_many(seed, slate, interest, mass):
    """Many copies of the first user, before the same slate."""
    count = draws_needed(TOLERANCE)
    entity = user.InterestEvolutionUser({**CONFIG, "num_users": count}, no_click_mass=mass)
    copies = Value(**{name: tf.repeat(field[:1], count, axis=0) for name, field in slate.items()})
    with seeded(seed, fields.USER_RESPONSE):
        return entity.next_response(state_at(np.repeat(interest[:1], count, axis=0)), copies)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mass", [0.0, 1.5, -math.inf])
def test_choices_follow_their_law(seed, slate, interest, mass):
    chosen = array(responses_of_many(seed, slate, interest, mass).get("choice"))
    frequencies = np.bincount(chosen, minlength=SLATE_SIZE + 1) / len(chosen)
    expected = softmax(logits_oracle(interest[:1], slate, [mass]))[0]
    np.testing.assert_allclose(frequencies, expected, atol=TOLERANCE)
    if mass == -math.inf:
        assert frequencies[SLATE_SIZE] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_time_is_that_of_the_chosen_document(seed, slate, interest):
    response = responses_of_many(seed, slate, interest, 0.0)
    chosen = array(response.get("choice"))
    assert set(chosen) == set(range(SLATE_SIZE + 1))
    by_choice = np.append(slate["doc_length"][0] * sigmoid(-slate["doc_quality"][0]), -1.0)
    np.testing.assert_allclose(array(response.get("consumed_time")), by_choice[chosen], rtol=1e-6)


def test_nothing_is_observed(entity):
    assert entity.observation(entity.initial_state()).as_dict == {}


# The laws, for whoever plans with them.


@pytest.mark.parametrize("mass", [0.4, MASSES], ids=["one", "per_user"])
@pytest.mark.parametrize("step_size", [0.2, STEP_SIZES], ids=["one", "per_user"])
def test_laws_equal_what_the_story_does(slate, docs, interest, mass, step_size):
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=mass, interest_step_size=step_size)
    drawn_from = entity.next_response(state_at(interest), docs).get("choice").distribution.logits
    np.testing.assert_array_equal(entity.choice_logits(tf.constant(interest), docs), drawn_from)
    np.testing.assert_array_equal(entity.document_logits(tf.constant(interest), docs), drawn_from[:, :-1])
    times = entity.consumed_time(docs).numpy()
    for slot in range(SLATE_SIZE):
        choice = np.full(NUM_USERS, slot, np.int32)
        np.testing.assert_allclose(times[:, slot], times_oracle(slate, choice), rtol=1e-6)
        following = entity.next_state(state_at(interest), response_of(slate, choice), docs)
        consumed = docs.map(lambda field, slot=slot: field[:, slot])
        np.testing.assert_array_equal(
            entity.next_interest(tf.constant(interest), consumed), array(following.get(fields.INTEREST))
        )
    nothing = np.full(NUM_USERS, SLATE_SIZE, np.int32)
    following = entity.next_state(state_at(interest), response_of(slate, nothing), docs)
    np.testing.assert_array_equal(
        entity.next_interest(tf.constant(interest), None), array(following.get(fields.INTEREST))
    )


@pytest.mark.parametrize("leading", [(), (2,), (5, 2), (NUM_USERS, 2)], ids=str)
def test_laws_hold_for_other_leading_axes(entity, leading):
    random_state = np.random.RandomState(11)
    interest = random_state.randn(*leading, NUM_TOPICS).astype(np.float32)
    features = random_state.randn(*leading, SLATE_SIZE, NUM_TOPICS).astype(np.float32)
    quality = random_state.randn(*leading, SLATE_SIZE).astype(np.float32)
    length = random_state.uniform(1, 3, (*leading, SLATE_SIZE)).astype(np.float32)
    docs = Value(doc_features=features, doc_quality=quality, doc_length=length)
    affinity = 2 - np.sqrt(np.sum((interest[..., None, :] - features) ** 2, axis=-1))
    np.testing.assert_allclose(entity.document_logits(interest, docs), affinity, rtol=1e-4, atol=1e-5)
    with_no_click = np.concatenate([affinity, np.zeros((*leading, 1))], axis=-1)
    np.testing.assert_allclose(entity.choice_logits(interest, docs), with_no_click, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(entity.consumed_time(docs), length * sigmoid(-quality), rtol=1e-5)
    doc = Value(doc_features=features[..., 0, :], doc_quality=quality[..., 0])
    moved = interest + 0.1 * quality[..., :1] * (features[..., 0, :] - interest)
    np.testing.assert_allclose(entity.next_interest(interest, doc), squash_oracle(moved), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(entity.next_interest(interest, None), squash_oracle(interest), rtol=1e-4, atol=1e-5)


def test_laws_with_numbers_per_user_and_particles_per_user():
    particles = 5
    entity = user.InterestEvolutionUser(CONFIG, no_click_mass=MASSES, interest_step_size=STEP_SIZES)
    random_state = np.random.RandomState(12)
    interest = random_state.randn(NUM_USERS, particles, NUM_TOPICS).astype(np.float32)
    features = random_state.randn(NUM_USERS, particles, SLATE_SIZE, NUM_TOPICS).astype(np.float32)
    quality = random_state.randn(NUM_USERS, particles).astype(np.float32)
    logits = entity.choice_logits(interest, Value(doc_features=features))
    np.testing.assert_array_equal(logits[..., -1], np.repeat(MASSES[:, None], particles, axis=1))
    doc = Value(doc_features=features[:, :, 0], doc_quality=quality)
    moved = interest + STEP_SIZES[:, None, None] * quality[..., None] * (features[:, :, 0] - interest)
    np.testing.assert_allclose(entity.next_interest(interest, doc), squash_oracle(moved), rtol=1e-4, atol=1e-5)


# Interfaces.


def test_constructor_begins_with_upstreams_arguments():
    ours = list(inspect.signature(user.InterestEvolutionUser).parameters.values())
    theirs = list(inspect.signature(upstream.InterestEvolutionUser).parameters.values())
    assert len(theirs) == 9
    assert [(p.name, p.default) for p in ours[: len(theirs)]] == [(p.name, p.default) for p in theirs]
    assert all(p.default is not p.empty for p in ours[len(theirs) :])


def test_arguments_by_position_and_keyword_are_the_same(docs, interest, slate):
    given = {
        "config": CONFIG,
        "affinity_model_ctor": affinities.TargetPointSimilarity,
        "choice_model_ctor": selectors.MultinomialLogitChoiceModel,
        "no_click_mass": 0.7,
        "interest_step_size": 0.3,
        "reset_users_if_timed_out": True,
        "interest_update_noise_scale": 0.2,
        "initial_interest_generator": lambda: tf.constant(interest),
        "max_user_affinity": 4.0,
    }
    entities = (user.InterestEvolutionUser(**given), user.InterestEvolutionUser(*given.values()))
    for entity in entities:
        assert entity._max_user_affinity == 4.0
        assert "steps_without_click" in entity.specs().get("state").as_dict
        first = entity.initial_state()
        np.testing.assert_array_equal(array(first.get(fields.INTEREST)), interest)
        np.testing.assert_array_equal(entity.choice_logits(interest, docs)[:, -1], np.full(NUM_USERS, np.float32(0.7)))
    after = []
    for entity in entities:
        with seeded(3):
            after.append(entity.next_state(entity.initial_state(), response_of(slate), docs))
    for name, field in after[0].as_dict.items():
        np.testing.assert_array_equal(array(field), array(after[1].get(name)))


def test_entity_is_called_user_and_keeps_its_limit(entity):
    assert entity.name == "User"
    assert entity._max_user_affinity == 10.0
    assert user.InterestEvolutionUser({**CONFIG, "more": 1}, max_user_affinity=5)._max_user_affinity == 5.0


@pytest.mark.parametrize("mass", [0.25, MASSES], ids=["one", "per_user"])
def test_models_are_called_back_as_documented(mass):
    calls = {}

    def affinity_model(*arguments, **more):
        calls["affinity"] = (arguments, more)
        return affinities.TargetPointSimilarity(*arguments)

    def choice_model(*arguments, **more):
        calls["choice"] = (arguments, more)
        return selectors.MultinomialLogitChoiceModel(*arguments)

    user.InterestEvolutionUser(CONFIG, affinity_model, choice_model, no_click_mass=mass)
    assert calls["affinity"] == (((NUM_USERS,), SLATE_SIZE, "negative_euclidean"), {})
    (batch_shape, logits), more = calls["choice"]
    assert (batch_shape, more) == ((NUM_USERS,), {})
    assert logits.dtype == tf.float32
    np.testing.assert_array_equal(logits, np.broadcast_to(mass, NUM_USERS))


class _ChoiceWithSurprise(selectors.MultinomialLogitChoiceModel):
    """Adds a field to the response."""

    def choice(self, slate_document_logits):
        chosen = super().choice(slate_document_logits)
        return chosen.union(Value(best_logit=tf.reduce_max(slate_document_logits, axis=-1)))

    def specs(self):
        return super().specs().union(value.ValueSpec(best_logit=fields.tensor_spec(self._batch_shape)))


def test_fields_of_the_choice_model_join_the_response(docs, interest):
    entity = user.InterestEvolutionUser(CONFIG, choice_model_ctor=_ChoiceWithSurprise)
    response = entity.next_response(state_at(interest), docs)
    assert list(response.as_dict) == ["consumed_time", "choice", "best_logit"]
    np.testing.assert_array_equal(
        response.get("best_logit"), np.max(entity.document_logits(interest, docs).numpy(), axis=-1)
    )
    assert_in_specs(entity.specs().get("response"), response)


def test_field_names_shapes_and_dtypes(entity, docs, interest, slate):
    shape = (NUM_USERS, NUM_TOPICS)
    prefix = "interest.linear_update"
    names = [fields.INTEREST, f"{prefix}.state", f"{prefix}.tbranch.state", f"{prefix}.fbranch.state"]
    later = entity.next_state(state_at(interest), response_of(slate), docs)
    for val in (entity.initial_state(), later):
        described = [(name, tuple(field.shape), field.dtype.name) for name, field in val.as_dict.items()]
        assert described == [(name, shape, "float32") for name in names]
        assert [isinstance(field, ed.RandomVariable) for field in val.as_dict.values()] == [False, False, True, True]
        assert list(entity.specs().get("state").as_dict) == names
    response = entity.next_response(state_at(interest), docs)
    assert [(name, tuple(field.shape), field.dtype.name) for name, field in response.as_dict.items()] == [
        ("consumed_time", (NUM_USERS,), "float32"),
        ("choice", (NUM_USERS,), "int32"),
    ]
    assert entity.specs().get("observation").as_dict == {}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("resets", [False, True])
def test_specs_contain_what_is_produced(docs, seed, resets):
    entity = user.InterestEvolutionUser(
        CONFIG, interest_update_noise_scale=0.5, reset_users_if_timed_out=resets, timeout_steps=2
    )
    specs = entity.specs()
    with seeded(seed):
        state = entity.initial_state()
        for _ in range(4):
            response = entity.next_response(state, docs)
            assert_in_specs(specs.get("state"), state)
            assert_in_specs(specs.get("response"), response)
            state = entity.next_state(state, response, docs)


def test_tensor_space_is_a_float_box():
    default = user.tensor_space().space
    assert (default.shape, default.dtype) == ((), np.float32)
    assert default.low == -np.inf
    assert default.high == np.inf
    for bounded in (
        user.tensor_space(-1.5, 2.5, (3, 2)).space,
        user.tensor_space(low=-1.5, high=2.5, shape=[3, 2]).space,
    ):
        np.testing.assert_array_equal(bounded.low, np.full((3, 2), -1.5))
        np.testing.assert_array_equal(bounded.high, np.full((3, 2), 2.5))
    ours, theirs = inspect.signature(user.tensor_space), inspect.signature(upstream.tensor_space)
    assert [(p.name, p.default) for p in ours.parameters.values()] == [
        (p.name, p.default) for p in theirs.parameters.values()
    ]


# Upstream's faults.


def state_model_of(interest):
    """A recsim_ng state model that starts each user at one of two places."""
    places = np.stack([interest, -2 * interest], axis=1)  # [U, 2, K]
    return static.StaticTensor(tensor_dictionary=tf.constant(places), logits=tf.zeros((NUM_USERS, 2)), batch_ndims=1)


def test_fault_initial_interest_generator_crashes(interest):
    model = state_model_of(interest)
    with pytest.raises(AttributeError, match="_initial_interest_generator"):
        upstream.InterestEvolutionUser(CONFIG, initial_interest_generator=model).initial_state()
    drawn = array(
        user.InterestEvolutionUser(CONFIG, initial_interest_generator=model).initial_state().get(fields.INTEREST)
    )
    at_first, at_second = np.all(drawn == interest, axis=1), np.all(drawn == -2 * interest, axis=1)
    assert np.all(at_first | at_second)


GENERATORS = {
    "tensor": tf.constant,
    "numpy": np.array,
    "float64": lambda interest: interest.astype(np.float64),
    "normal": lambda interest: ed.Normal(loc=tf.constant(interest), scale=0.001),
    "vector_normal": lambda interest: ed.MultivariateNormalDiag(
        loc=tf.constant(interest), scale_diag=0.001 * tf.ones_like(interest)
    ),
    "value": lambda interest: Value(state=tf.constant(interest)),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_initial_interest_generator_may_return_anything_that_holds_numbers(slate, docs, interest, kind):
    entity = user.InterestEvolutionUser(CONFIG, initial_interest_generator=lambda: GENERATORS[kind](interest))
    first = entity.initial_state()
    assert_in_specs(entity.specs().get("state"), first)
    np.testing.assert_allclose(array(first.get(fields.INTEREST)), interest, atol=0.01)  # ten of the deviations below
    following = entity.next_state(first, response_of(slate), docs)
    np.testing.assert_array_equal(
        array(following.get("interest.linear_update.tbranch.state")), array(first.get(fields.INTEREST))
    )


@pytest.mark.slow
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("kind", ["tensor", "normal", "state_model"])
def test_initial_interest_generator_works_in_recsim_ngs_runtime(interest, kind, graph_compile):
    if kind == "state_model":
        generator = state_model_of(interest)
    else:

        def generator():
            return GENERATORS[kind](interest)

    network = simulation_config.create_interest_evolution_simulation_network(
        **NETWORK_SIZES, user_ctor=functools.partial(user.InterestEvolutionUser, initial_interest_generator=generator)
    )
    runtime = tf_runtime.TFRuntime(network_lib.Network(network.variables), graph_compile)
    trajectory = runtime.trajectory(3)[fields.USER_STATE]
    first = array(trajectory.get(fields.INTEREST))[0]
    if kind == "state_model":
        assert np.all(np.all(first == interest, axis=1) | np.all(first == -2 * interest, axis=1))
    else:
        np.testing.assert_allclose(first, interest, atol=0.01)
    assert trajectory.get(fields.INTEREST).shape == (3, NUM_USERS, NUM_TOPICS)
    # The second value follows from the first: moved or kept, and squashed.
    kept = array(trajectory.get("interest.linear_update.tbranch.state"))[1]
    np.testing.assert_array_equal(kept, first)


def test_generated_interests_fit_the_specs(interest):
    entity = user.InterestEvolutionUser(CONFIG, initial_interest_generator=lambda: tf.constant(50 * interest))
    assert np.max(np.abs(50 * interest)) > 20
    assert_in_specs(entity.specs().get("state"), entity.initial_state())


def nobody_clicks(slate):
    return response_of(slate, np.full(NUM_USERS, SLATE_SIZE, np.int32))


@pytest.mark.slow
def test_fault_reset_of_timed_out_users_is_read_nowhere(slate, docs, interest):
    steps = 12
    theirs = upstream.InterestEvolutionUser(CONFIG, reset_users_if_timed_out=True)
    ours = user.InterestEvolutionUser(CONFIG, reset_users_if_timed_out=True)
    their_state = state_at(interest)
    our_state = state_at(interest).union(Value(steps_without_click=tf.zeros((NUM_USERS,), tf.int32)))
    without_reset = interest
    for _ in range(steps):
        their_state = theirs.next_state(their_state, nobody_clicks(slate), docs)
        our_state = ours.next_state(our_state, nobody_clicks(slate), docs)
        without_reset = squash_oracle(without_reset)
    np.testing.assert_allclose(array(their_state.get(fields.INTEREST)), without_reset, rtol=1e-3, atol=1e-4)
    assert np.min(np.abs(array(our_state.get(fields.INTEREST)) - without_reset)) > 1e-4


@pytest.mark.slow
def test_reset_comes_after_the_stated_steps_without_a_click(slate, docs, interest):
    timeout = 3
    entity = user.InterestEvolutionUser(CONFIG, reset_users_if_timed_out=True, timeout_steps=timeout)
    state = entity.initial_state()
    np.testing.assert_array_equal(state.get("steps_without_click"), np.zeros(NUM_USERS))
    counted = np.zeros(NUM_USERS, int)
    plan = np.full((8, NUM_USERS), SLATE_SIZE, np.int32)  # user 0 never clicks, user 5 always, the others now and then
    plan[:, 5], plan[2, 1], plan[1, 2], plan[4, 2], plan[0, 3] = 1, 0, 2, 1, 2
    resets = np.zeros(NUM_USERS, int)
    for choices in plan:
        before = array(state.get(fields.INTEREST))
        state = entity.next_state(state, response_of(slate, choices), docs)
        counted = np.where(choices == SLATE_SIZE, counted + 1, 0)
        gone = counted == timeout
        counted[gone] = 0
        resets += gone
        np.testing.assert_array_equal(state.get("steps_without_click"), counted)
        fresh, now = array(state.get("fresh_interest.state")), array(state.get(fields.INTEREST))
        np.testing.assert_array_equal(now[gone], fresh[gone])
        stayed = squash_oracle(moved_oracle(before, slate, choices, np.full(NUM_USERS, 0.1)))
        np.testing.assert_allclose(now[~gone], stayed[~gone], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(resets, [2, 1, 1, 2, 2, 0])


@pytest.mark.parametrize("seed", SEEDS)
def test_reset_users_start_as_new_ones(seed):
    count = draws_needed(TOLERANCE)
    entity = user.InterestEvolutionUser({**CONFIG, "num_users": count}, reset_users_if_timed_out=True, timeout_steps=1)
    state = state_at(np.full((count, NUM_TOPICS), 5.0, np.float32)).union(
        Value(steps_without_click=tf.zeros((count,), tf.int32))
    )
    docs = Value(doc_quality=tf.zeros((count, SLATE_SIZE)), doc_features=tf.zeros((count, SLATE_SIZE, NUM_TOPICS)))
    nothing = Value(choice=tf.fill((count,), SLATE_SIZE), consumed_time=tf.fill((count,), -1.0))
    with seeded(seed):
        following = array(entity.next_state(state, nothing, docs).get(fields.INTEREST))
    for column in following.T:
        assert distance_from_normal(column) < TOLERANCE


def test_reset_users_start_where_the_generator_says(slate, docs, interest):
    entity = user.InterestEvolutionUser(
        CONFIG,
        reset_users_if_timed_out=True,
        timeout_steps=1,
        initial_interest_generator=lambda: tf.constant(interest),
    )
    state = entity.next_state(entity.initial_state(), response_of(slate), docs)
    state = entity.next_state(state, nobody_clicks(slate), docs)
    np.testing.assert_array_equal(array(state.get(fields.INTEREST)), interest)


@pytest.mark.slow
@pytest.mark.parametrize("graph_compile", [False, True], ids=["eager", "graph"])
def test_resets_work_in_recsim_ngs_runtime(graph_compile):
    network = simulation_config.create_interest_evolution_simulation_network(
        **NETWORK_SIZES,
        user_ctor=functools.partial(
            user.InterestEvolutionUser, reset_users_if_timed_out=True, timeout_steps=2, no_click_mass=60.0
        ),
    )
    runtime = tf_runtime.TFRuntime(network_lib.Network(network.variables), graph_compile)
    state = runtime.trajectory(4)[fields.USER_STATE]
    steps = array(state.get("steps_without_click"))
    np.testing.assert_array_equal(steps, np.repeat([[0], [1], [0], [1]], NUM_USERS, axis=1))
    np.testing.assert_array_equal(array(state.get(fields.INTEREST))[2], array(state.get("fresh_interest.state"))[2])


def test_fault_similarity_and_offset_cannot_be_chosen(docs, interest):
    theirs = inspect.signature(upstream.InterestEvolutionUser).parameters
    assert not {"affinity_similarity", "affinity_offset"} & set(theirs)
    seen = []

    def affinity_model(batch_shape, slate_size, similarity):
        seen.append(similarity)
        return affinities.TargetPointSimilarity(batch_shape, slate_size, similarity)

    entity = user.InterestEvolutionUser(CONFIG, affinity_model, affinity_similarity="dot", affinity_offset=-0.75)
    assert seen == ["dot"]
    features = array(docs.get("doc_features"))
    expected = np.einsum("uk,usk->us", interest, features) - 0.75
    np.testing.assert_allclose(entity.document_logits(interest, docs), expected, rtol=1e-4, atol=1e-5)
    logits = entity.next_response(state_at(interest), docs).get("choice").distribution.logits
    np.testing.assert_allclose(logits[:, :-1], expected, rtol=1e-4, atol=1e-5)
    without = user.InterestEvolutionUser(CONFIG, affinity_offset=0)
    distances = np.linalg.norm(interest[:, None] - features, axis=-1)
    np.testing.assert_allclose(without.document_logits(interest, docs), -distances, rtol=1e-5)


@pytest.mark.slow
def test_fault_interest_spec_is_ten_whatever_the_limit():
    """Trashy documents drive the interest past 10 with no_click_mass -inf and step size 0.2."""
    arguments = {"no_click_mass": -math.inf, "interest_step_size": 0.2}
    ours, theirs = user.InterestEvolutionUser(CONFIG, **arguments), upstream.InterestEvolutionUser(CONFIG, **arguments)
    random_state = np.random.RandomState(13)
    docs = Value(
        doc_quality=tf.constant(-1 + 0.1 * random_state.randn(NUM_USERS, SLATE_SIZE), tf.float32),
        doc_features=tf.constant(random_state.randn(NUM_USERS, SLATE_SIZE, NUM_TOPICS), tf.float32),
        doc_length=tf.fill((NUM_USERS, SLATE_SIZE), 2.0),
    )
    largest = 0.0
    with seeded(1):
        state = ours.initial_state()
        for _ in range(60):
            response = ours.next_response(state, docs)
            assert np.all(array(response.get("choice")) < SLATE_SIZE)
            state = ours.next_state(state, response, docs)
            assert_in_specs(ours.specs().get("state"), state)
            largest = max(largest, np.max(np.abs(array(state.get(fields.INTEREST)))))
    assert largest > 13.5
    assert largest < 20
    assert np.all(theirs.specs().as_dict["state.interest.state"].space.high == 10)
    np.testing.assert_array_equal(ours.specs().as_dict["state.interest.state"].space.high, np.full((6, 4), 20.0))


@pytest.mark.parametrize(("limit", "bound"), [(10.0, 20.0), (25.0, 50.0), (3.0, np.inf)])
def test_interest_spec_follows_the_limit_unless_a_first_interest_can_exceed_it(limit, bound):
    box = user.InterestEvolutionUser(CONFIG, max_user_affinity=limit).specs().as_dict["state.interest.state"].space
    np.testing.assert_array_equal(box.high, np.full((NUM_USERS, NUM_TOPICS), bound))
    np.testing.assert_array_equal(box.low, np.full((NUM_USERS, NUM_TOPICS), -bound))
    theirs = upstream.InterestEvolutionUser(CONFIG, max_user_affinity=limit).specs().as_dict["state.interest.state"]
    assert np.all(theirs.space.high == 10)


def test_fault_time_spec_starts_at_zero(slate, docs, interest):
    ours, theirs = (library.InterestEvolutionUser(CONFIG, no_click_mass=60.0) for library in (user, upstream))
    produced = array(ours.next_response(state_at(interest), docs).get("consumed_time"))
    np.testing.assert_array_equal(produced, np.full(NUM_USERS, -1.0))
    assert np.all(produced < theirs.specs().as_dict["response.consumed_time"].space.low)
    np.testing.assert_array_equal(ours.specs().as_dict["response.consumed_time"].space.low, produced)


# Errors name the argument.


@pytest.mark.parametrize(
    ("argument", "impossible"),
    [
        ("no_click_mass", math.nan),
        ("no_click_mass", math.inf),
        ("no_click_mass", [0.0, 1.0]),
        ("no_click_mass", "much"),
        ("interest_step_size", -math.inf),
        ("interest_step_size", np.zeros((NUM_USERS, 1))),
        ("interest_step_size", None),
        ("interest_update_noise_scale", -0.1),
        ("interest_update_noise_scale", [0.1] * (NUM_USERS - 1)),
        ("interest_update_noise_scale", [-0.1] + [0.1] * (NUM_USERS - 1)),
        ("reset_users_if_timed_out", 1),
        ("max_user_affinity", 0.0),
        ("max_user_affinity", -1.0),
        ("max_user_affinity", math.nan),
        ("affinity_offset", math.nan),
        ("timeout_steps", 0),
        ("timeout_steps", 2.5),
    ],
)
def test_user_refuses_impossible_arguments(argument, impossible):
    with pytest.raises(validation.InvalidInputError, match=argument):
        user.InterestEvolutionUser(CONFIG, **{argument: impossible})


@pytest.mark.parametrize("key", ["num_users", "num_topics", "slate_size"])
@pytest.mark.parametrize("impossible", [None, 0, -1, 2.0, True])
def test_user_refuses_impossible_configs(key, impossible):
    config = {**CONFIG, key: impossible}
    with pytest.raises(validation.InvalidInputError, match=key):
        user.InterestEvolutionUser(config)
    del config[key]
    with pytest.raises(validation.InvalidInputError, match=key):
        user.InterestEvolutionUser(config)


def test_unknown_similarity_is_an_error_that_names_the_known_ones():
    with pytest.raises(ValueError, match=r"similarity.*dot.*negative_euclidean"):
        user.InterestEvolutionUser(CONFIG, affinity_similarity="nearness")


@pytest.mark.parametrize("similarity", ["single_peaked", "manhattan", 3])
def test_a_similarity_that_cannot_work_is_refused_by_name(similarity):
    with pytest.raises(validation.InvalidInputError, match=f"affinity_similarity '?{similarity}'?"):
        user.InterestEvolutionUser(CONFIG, affinity_similarity=similarity)
