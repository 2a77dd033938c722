"""The contract that every scorer meets, one test for all."""

import json

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import scoring
from recsys_po_rl.common import validation

B, D, E, H = 6, 9, 4, 5
RANDOM = np.random.RandomState(7)
# Rows with no, one, some (the oldest slots empty, as a recommender's history has them) and H clicks.
CLICKS = np.array([0, 1, 3, 5, 5, 2])
IDS = np.where(np.arange(H) >= H - CLICKS[:, None], RANDOM.randint(1, D + 1, (B, H)), 0).astype(np.int32)
TIMES = np.where(IDS > 0, RANDOM.uniform(0.2, 1.9, (B, H)), 0.0).astype(np.float32)

SCORERS = [
    scoring.CollabFilteringModel,
    scoring.AveragedHistoryModel,
    scoring.GRUModel,
    scoring.SelfAttentionModel,
]
NULL_SLOTS_COUNT = (scoring.CollabFilteringModel,)  # upstream's numbers: masked by an option
STATEFUL = [scorer for scorer in SCORERS if scorer.carries_state]
MEMORIES = [(), ("slates",), ("step",), ("slates", "step")]
WITH_MEMORY = [(scorer, memory) for scorer in STATEFUL for memory in MEMORIES[1:]]


def build(scorer, **options):
    tf.keras.utils.set_random_seed(11)
    if scorer in NULL_SLOTS_COUNT:
        options = {"mask_null_documents": True, **options}
    model = scorer(B, D, E, H, **options)
    model.build([(None, H), (None, H)])
    # Off the initial values, where biases are zero and a swap of two would not show.
    model.set_weights([weight + 0.3 * RANDOM.normal(size=weight.shape) for weight in model.get_weights()])
    return model


@pytest.fixture(
    scope="module",
    params=[*((scorer, ()) for scorer in SCORERS), *((scorer, MEMORIES[-1]) for scorer in STATEFUL)],
    ids=lambda param: f"{param[0].__name__}{'-memory' if param[1] else ''}",
)
def model(request):
    scorer, memory = request.param
    return build(scorer, memory=memory) if memory else build(scorer)


def test_scores_of_all_documents_for_any_number_of_rows(model):
    whole = model(IDS, TIMES)
    assert whole.shape == (B, D)
    assert whole.dtype == tf.float32
    assert np.isfinite(whole).all()
    assert model(IDS[:0], TIMES[:0]).shape == (0, D)
    for rows in (1, 4):
        np.testing.assert_allclose(model(IDS[:rows], TIMES[:rows]), whole[:rows], rtol=1e-5, atol=1e-6)


def test_rows_are_independent(model):
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_allclose(model(IDS[order], TIMES[order]), model(IDS, TIMES).numpy()[order], rtol=1e-5, atol=1e-6)


def test_what_was_consumed_and_how_long_matters(model):
    other_ids, other_times = IDS.copy(), TIMES.copy()
    other_ids[3, 4] = IDS[3, 4] % D + 1
    other_times[4, 2] += 0.5
    base = model(IDS, TIMES).numpy()
    assert np.abs(model(other_ids, TIMES)[3] - base[3]).max() > 1e-4
    assert np.abs(model(IDS, other_times)[4] - base[4]).max() > 1e-5


def test_null_slots_do_not_count(model):
    noise = np.where(IDS == 0, 1.7, TIMES).astype(np.float32)
    np.testing.assert_array_equal(model(IDS, noise), model(IDS, TIMES))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IDS, TIMES) ** 2)
    table = model.get_layer("doc_embedding").weights[0]
    gradient = tf.convert_to_tensor(tape.gradient(loss, table)).numpy()
    assert not gradient[0].any()
    assert np.abs(gradient[IDS[IDS > 0]]).min(axis=0).max() > 0.0


def test_gradients_reach_every_weight(model):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IDS, TIMES) ** 2)
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
        assert gradient is not None, weight.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, weight.name


@pytest.mark.slow
def test_graph_and_xla_score_alike(model):
    expected = model(IDS, TIMES)
    for options in ({}, {"jit_compile": True}):
        found = tf.function(model, **options)(tf.constant(IDS), tf.constant(TIMES))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ids", "times", "message"),
    [
        (D + 1, 1.0, "doc_id_history must be between 0 and 9"),
        (-1, 1.0, "doc_id_history"),
        (3, np.nan, "c_time_history"),
    ],
)
def test_bad_rows_are_refused_and_nan_under_xla(model, ids, times, message):
    bad_ids, bad_times = IDS.copy(), TIMES.copy()
    bad_ids[2, 4], bad_times[2, 4] = ids, times
    for call in (model, tf.function(model)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(tf.constant(bad_ids), tf.constant(bad_times))
    compiled = tf.function(model, jit_compile=True)
    scores = compiled(tf.constant(bad_ids), tf.constant(bad_times)).numpy()
    others = [0, 1, 3, 4, 5]
    assert np.isnan(scores[2]).all()
    np.testing.assert_array_equal(scores[others], compiled(tf.constant(IDS), tf.constant(TIMES)).numpy()[others])


class TimelessModel(scoring.CollabFilteringModel):
    """A subclass that looks at nothing."""

    def score_histories(self, doc_ids, times, training):
        return tf.zeros((tf.shape(doc_ids)[0], self.num_docs))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"mask_null_documents": True}])
@pytest.mark.parametrize("scorer", [scoring.CollabFilteringModel, TimelessModel])
def test_a_bad_row_is_nan_under_xla_whatever_a_model_does_with_times(scorer, options):
    model = scorer(B, D, E, H, **options)
    compiled = tf.function(model, jit_compile=True)
    ids = IDS.copy()
    ids[2, 0] = -1
    scores = compiled(ids, TIMES).numpy()
    assert np.isnan(scores[2]).all()
    assert np.isfinite(np.delete(scores, 2, axis=0)).all()


def test_config_and_weights_round_trip(model, tmp_path):
    config = model.get_config()
    assert json.loads(json.dumps(config)) == config
    again = type(model).from_config(config)
    again.build((None, H))
    assert again.get_config() == config
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IDS, TIMES), model(IDS, TIMES))
    path = str(tmp_path / "model.keras")
    model.save(path)
    loaded = tf.keras.models.load_model(path)
    assert type(loaded) is type(model)
    np.testing.assert_allclose(loaded(IDS, TIMES), model(IDS, TIMES), rtol=1e-6, atol=1e-6)
    assert loaded(IDS[:2], TIMES[:2]).shape == (2, D)


@pytest.mark.slow
@pytest.mark.parametrize("scorer", STATEFUL, ids=lambda scorer: scorer.__name__)
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("compiled", [False, True])
def test_scores_step_by_step_are_those_of_the_whole_history(scorer, memory, compiled):
    model = build(scorer, memory=memory)

    def step(state, ids, times, clicked):
        after = model.next_state(state, ids, times, clicked)
        if not memory:
            return after
        # In the histories every click is a step, whose slate had the clicked document alone.
        read = model.read_step(after, tf.maximum(ids, 0)[:, tf.newaxis], tf.where(clicked, 0, 1), times)
        return {
            key: tf.where(tf.reshape(clicked, [-1] + [1] * (len(value.shape) - 1)), value, after[key])
            for key, value in read.items()
        }

    step = tf.function(step, jit_compile=True) if compiled else step
    state = model.initial_state(B)
    np.testing.assert_allclose(
        model.score_state(state), model(np.zeros_like(IDS), np.zeros_like(TIMES)), rtol=1e-5, atol=1e-6
    )
    for slot in range(H):
        # Where nothing is clicked, ids and times may be anything: -1 is what a response has there.
        clicked = IDS[:, slot] > 0
        state = step(
            state,
            tf.constant(np.where(clicked, IDS[:, slot], -1)),
            tf.constant(np.where(clicked, TIMES[:, slot], -1.0).astype(np.float32)),
            tf.constant(clicked),
        )
    np.testing.assert_allclose(model.score_state(state), model(IDS, TIMES), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("scorer", STATEFUL, ids=lambda scorer: scorer.__name__)
def test_a_state_never_reads_a_document_that_does_not_exist(scorer):
    model = build(scorer)
    arguments = (tf.constant([1, D + 1, 3]), tf.constant([0.5, 0.5, 0.5]), tf.constant([True, True, False]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="doc_ids must be between 1 and 9"):
        model.next_state(model.initial_state(3), *arguments)
    after = tf.function(model.next_state, jit_compile=True)(model.initial_state(3), *arguments)
    scores = model.score_state(after).numpy()
    assert np.isnan(scores[1]).all()
    assert np.isfinite(scores[[0, 2]]).all()


@pytest.mark.parametrize(
    ("scorer", "options", "message"),
    [
        (scoring.AveragedHistoryModel, {"decays": []}, "decays must be a list of numbers"),
        (scoring.AveragedHistoryModel, {"decays": [0.5, 1.0]}, "decays must be below 1"),
        (scoring.AveragedHistoryModel, {"decays": [-0.1]}, "decays: each must be a finite number of at least 0"),
        (scoring.AveragedHistoryModel, {"proposal_stddev": 0.0}, "proposal_stddev must be a finite number above 0"),
        (scoring.AveragedHistoryModel, {"memory": "step"}, "memory must be a list of 'slates' and 'step'"),
        (
            scoring.GRUModel,
            {"memory": ["clock"]},
            "GRUModel: memory must be a list of 'slates' and 'step', each at most",
        ),
        (scoring.GRUModel, {"memory": ["step", "step"]}, "each at most once; got"),
        (scoring.GRUModel, {"units": 0}, "units must be an integer of at least 1"),
        (scoring.GRUModel, {"proposal_stddev": -1.0}, "proposal_stddev must be a finite number above 0"),
        (scoring.SelfAttentionModel, {"num_blocks": 0}, "num_blocks must be an integer of at least 1"),
        (scoring.SelfAttentionModel, {"num_heads": 3}, "doc_embed_dim must be a multiple of num_heads"),
        (scoring.SelfAttentionModel, {"dropout": 1.0}, "dropout must be below 1"),
        (scoring.SelfAttentionModel, {"proposal_stddev": 0}, "proposal_stddev must be a finite number above 0"),
        (scoring.CollabFilteringModel, {"mask_null_documents": 1}, "mask_null_documents must be True or False"),
    ],
)
def test_errors_name_the_argument(scorer, options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        scorer(B, D, E, H, **options)


def test_a_scorer_says_what_it_lacks():
    class Incomplete(scoring.StatefulScorer):
        pass

    model = Incomplete(1, 2, 3, 4)
    for call in (
        model.build_layers,
        lambda: model.score_histories(None, None, None),
        lambda: model.initial_state(1),
        lambda: model.read_click({}, None, None),
        lambda: model.score_state({}),
    ):
        with pytest.raises(NotImplementedError, match="Incomplete"):
            call()


@pytest.mark.slow
def test_dropout_drops_in_training_alone():
    model = build(scoring.SelfAttentionModel, dropout=0.5)
    np.testing.assert_array_equal(model(IDS, TIMES), model(IDS, TIMES, training=False))
    assert np.abs(model(IDS, TIMES, training=True) - model(IDS, TIMES)).max() > 1e-3


def test_averages_follow_their_definition():
    model = build(scoring.AveragedHistoryModel, decays=(0.5, 0.9))
    state = model.initial_state(1)
    table = model.get_layer("doc_embedding").get_weights()[0].astype(np.float64)
    expected = np.zeros((2, E + 1))
    for doc, time in [(3, 0.5), (7, 1.5), (3, 0.25)]:
        state = model.next_state(state, tf.constant([doc]), tf.constant([time]), tf.constant([True]))
        for row, decay in enumerate((0.5, 0.9)):
            expected[row] = decay * expected[row] + (1 - decay) * np.append(table[doc], time - 1.0)
    np.testing.assert_allclose(state["averages"][0], expected, rtol=1e-5)
    assert state["clicks"].numpy().tolist() == [3.0]


def test_memory_follows_its_definition():
    """Documents 3 and 7 shown and 7 clicked, 2 and 3 shown in vain, one empty slot beside 4, which is clicked."""
    model = build(scoring.AveragedHistoryModel, decays=(0.5, 0.9), memory=("step", "slates"))
    assert model.memory == ("slates", "step")
    table = model.get_layer("doc_embedding").get_weights()[0].astype(np.float64)
    state = model.initial_state(1)
    expected = np.zeros((2, E))
    in_vain = [table[3] / 2, (table[2] + table[3]) / 2, np.zeros(E)]
    for shown, clicked, mean in zip([[3, 7], [2, 3], [4, 0]], [1, 2, 0], in_vain):
        state = model.read_step(state, tf.constant([shown]), tf.constant([clicked]), tf.constant([0.5]))
        for row, decay in enumerate((0.5, 0.9)):
            expected[row] = decay * expected[row] + (1 - decay) * mean
        if clicked == 2:
            assert state["steps_since_click"].numpy().tolist() == [1.0]
    np.testing.assert_allclose(state["in_vain"][0], expected, rtol=1e-5)
    assert state["steps"].numpy().tolist() == [3.0]
    assert state["steps_since_click"].numpy().tolist() == [0.0]


@pytest.mark.parametrize(("scorer", "memory"), WITH_MEMORY)
def test_what_is_remembered_changes_scores_and_gradients_reach_every_weight(scorer, memory):
    model = build(scorer, memory=memory)
    ids, slates = tf.constant([1, 2, 3]), tf.constant([[1, 5], [2, 6], [7, 8]])
    clicked, times = tf.constant([0, 0, 2]), tf.constant([0.5, 0.7, 0.0])

    def scores(shown, steps=1):
        state = model.initial_state(3)
        for _ in range(steps):
            state = model.next_state(state, ids, times, clicked < 2)
            state = model.read_step(state, shown, clicked, times)
        return model.score_state(state)

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(scores(slates, steps=2) ** 2)
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights)):
        assert gradient is not None, weight.name
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0.0, weight.name
    others = tf.constant([[1, 6], [2, 5], [8, 9]])
    assert (np.abs(scores(others) - scores(slates)).max() > 1e-4) == ("slates" in memory)
    assert np.abs(scores(slates, steps=3) - scores(slates)).max() > 1e-4


@pytest.mark.parametrize("scorer", STATEFUL, ids=lambda scorer: scorer.__name__)
def test_a_slate_with_a_document_that_does_not_exist_makes_its_row_nan(scorer):
    model = build(scorer, memory=["slates"])
    slates = tf.constant([[1, 2], [3, D + 1], [4, 0]])
    state = model.read_step(model.initial_state(3), slates, tf.constant([2, 2, 2]), tf.zeros(3))
    scores = model.score_state(state).numpy()
    assert np.isnan(scores[1]).all()
    assert np.isfinite(scores[[0, 2]]).all()


def test_attention_is_causal_and_counts_positions_from_the_newest():
    """Only what was clicked matters, not how many empty slots lie before it."""
    model = build(scoring.SelfAttentionModel)
    ids, times = IDS[[3]].copy(), TIMES[[3]].copy()
    early = (
        np.array([[0, 0, ids[0, 0], ids[0, 1], 0]], np.int32),
        np.array([[0, 0, times[0, 0], times[0, 1], 0]], np.float32),
    )
    late = (
        np.array([[0, 0, 0, ids[0, 0], ids[0, 1]]], np.int32),
        np.array([[0, 0, 0, times[0, 0], times[0, 1]]], np.float32),
    )
    np.testing.assert_allclose(model(*early), model(*late), rtol=1e-5, atol=1e-6)
    swapped = late[0][:, [0, 1, 2, 4, 3]], late[1][:, [0, 1, 2, 4, 3]]
    assert np.abs(model(*swapped) - model(*late)).max() > 1e-4


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.__name__)
@pytest.mark.parametrize("policy", ["float64", "mixed_bfloat16", "mixed_float16"])
def test_scores_are_in_the_compute_dtype_of_the_policy(scorer, policy):
    model = build(scorer, dtype=policy)
    reference = build(scorer)
    reference.set_weights(model.get_weights())
    scores = model(IDS, TIMES)
    compute = {"float64": tf.float64, "mixed_bfloat16": tf.bfloat16, "mixed_float16": tf.float16}[policy]
    assert scores.dtype == compute
    assert {weight.dtype for weight in model.weights} == {tf.float64 if policy == "float64" else tf.float32}
    # Units in the last place: 2**-53, 2**-8 and 2**-11, on sums of some dozens of terms.
    tolerance = {"float64": 1e-5, "mixed_bfloat16": 0.1, "mixed_float16": 0.02}[policy]
    expected = reference(IDS, TIMES).numpy()
    np.testing.assert_allclose(tf.cast(scores, tf.float64), expected, atol=tolerance * np.abs(expected).max())
    if model.carries_state:
        state = model.next_state(
            model.initial_state(2), tf.constant([1, 2]), tf.constant([0.5, 0.5]), tf.constant([True, False])
        )
        assert {tensor.dtype for tensor in state.values()} == {compute}
        assert model.score_state(state).dtype == compute
