"""A callable in the table of an experiment meets the users and draws that every policy meets."""

import functools

import numpy as np
import pytest

import recsys_po_rl
from recsys_po_rl import corpus, fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import behaviour, evaluator, portrait
from recsys_po_rl.experiment import experiment
from recsys_po_rl.policies import ExternalPolicy, PolicyContext
from recsys_po_rl.policies.external import ObservationSizes, places_of
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation.step import EVALUATION_PLACE
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

NUM_USERS, NUM_TOPICS, NUM_DOCS, SLATE_SIZE, HISTORY, HORIZON = 6, 4, 9, 2, 5, 4
SIZES = dict(num_topics=NUM_TOPICS, num_docs=NUM_DOCS, slate_size=SLATE_SIZE, history_length=HISTORY)
SLATE = [6, 2]
SMALL_WORLD = [
    f"recsys_po_rl.experiment.horizon = {HORIZON}",
    "recsys_po_rl.experiment.evaluation_batch_size = 6",
    *(f"recsys_po_rl.create_interest_evolution_simulation_network.{name} = {size}" for name, size in SIZES.items()),
]


def fixed(observation):
    return np.tile(SLATE, (len(observation["step"]), 1))


class LeastRecent:
    """Agent that shows each user the documents that it has shown least, of its own count."""

    def reset(self, num_users):
        self.shown = np.zeros((num_users, NUM_DOCS), int)
        self.num_resets = getattr(self, "num_resets", 0) + 1

    def act(self, observation):
        assert (observation["step"] == self.shown.sum(axis=1) / SLATE_SIZE).all()
        slates = np.argsort(self.shown, axis=1, kind="stable")[:, :SLATE_SIZE]
        np.put_along_axis(self.shown, slates, np.take_along_axis(self.shown, slates, axis=1) + 1, axis=1)
        return slates


def make_context(mode="graph", **options):
    network_ctor = functools.partial(
        create_interest_evolution_simulation_network, **SIZES, corpus_seed=2, corpus_ctor=corpus.ReferenceCorpus,
        **options,
    )  # fmt: skip
    sizes = network_ctor(num_users=1).config
    return PolicyContext(network_ctor, functools.partial(SeededRuntime, mode=mode), sizes, 3, HORIZON, NUM_USERS)


def evaluate(policy, context, **options):
    built = policy.build(context)
    return evaluator.evaluate(built.runtime, HORIZON, 2 * NUM_USERS, NUM_USERS, context.seed, **options)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", "xla"])
def test_a_callable_gets_what_the_same_policy_in_the_network_gets(mode):
    context = make_context(mode)
    inside = context.network(
        recommender_ctor=functools.partial(FixedSlateRecommender, doc_ids=[place + 1 for place in SLATE])
    )
    portraits = [portrait.Collector(HORIZON, NUM_TOPICS, None) for _ in range(2)]
    expected = evaluator.evaluate(
        context.runtime(inside), HORIZON, 2 * NUM_USERS, NUM_USERS, context.seed, reducer=portraits[0]
    )
    found = evaluate(ExternalPolicy(fixed), context, reducer=portraits[1])
    # XLA compiles a step and a loop of steps differently, to a unit in the last place.
    tolerance = 0.0 if mode == "graph" else 1e-6
    np.testing.assert_allclose(found.total, expected.total, rtol=tolerance)
    np.testing.assert_allclose(found.upstream_total, expected.upstream_total, rtol=tolerance)
    if mode == "graph":
        assert found.behaviour.summary() == expected.behaviour.summary()
        assert portraits[1].result() == portraits[0].result()


@pytest.mark.slow
def test_an_agent_keeps_its_own_state_and_begins_anew_with_each_batch():
    agent = LeastRecent()
    evaluate(ExternalPolicy(agent), make_context())
    assert agent.num_resets == 2
    assert (agent.shown.sum(axis=1) == HORIZON * SLATE_SIZE).all()
    evaluate(ExternalPolicy(LeastRecent), make_context())  # a class is constructed


@pytest.mark.slow
def test_the_interest_is_observed_on_request_and_the_table_says_so():
    seen = {}

    def look(observation):
        seen.update(observation)
        return fixed(observation)

    context = make_context("eager")
    evaluate(ExternalPolicy(look), context)
    assert "interest" not in seen
    policy = ExternalPolicy(look, full_information=True)
    evaluate(policy, context)
    assert seen["interest"].shape == (NUM_USERS, NUM_TOPICS)
    assert policy.build(context).sees_interest
    assert not ExternalPolicy(look).build(context).sees_interest


@pytest.mark.slow
def test_empty_slots_count_neither_as_documents_nor_as_topics():
    twice = evaluate(ExternalPolicy(lambda observation: np.full((NUM_USERS, SLATE_SIZE), 4)), make_context("eager"))
    quarters = twice.behaviour.summary()["quarters"]
    assert quarters["catalogue_coverage"] == pytest.approx([1 / NUM_DOCS] * behaviour.NUM_QUARTERS)
    assert quarters.get("slate_diversity") is None


@pytest.mark.parametrize(
    ("slates", "message"),
    [
        (
            np.zeros((NUM_USERS, 3), int),
            r"mine: slates at step 1 must be integers of shape \(6, 2\), got int64 of shape",
        ),
        (np.zeros((NUM_USERS, 2)), r"mine: slates at step 1 must be integers of shape \(6, 2\), got float64"),
        (None, "mine: slates at step 1 must be integers"),
        ([[0, 1], [2]], r"mine: slates at step 1 must be integers of shape \(6, 2\): setting an array element"),
        (np.full((NUM_USERS, 2), NUM_DOCS), "mine: slates at step 1 must be indices of documents from 0 to 8, got 9"),
        (np.full((NUM_USERS, 2), -1), "must be indices of documents from 0 to 8, got -1"),
    ],
)
def test_wrong_slates_are_named_with_their_step(slates, message):
    def act(observation):
        return fixed(observation) if observation["step"][0] == 0 else slates

    with pytest.raises(validation.InvalidInputError, match=message):
        evaluate(ExternalPolicy(act, label="mine"), make_context("eager"))


def test_an_error_of_the_callable_has_its_place():
    def act(observation):
        if observation["step"][0] == 1:
            raise KeyError("interest")
        return fixed(observation)

    with pytest.raises(KeyError) as caught:
        evaluate(ExternalPolicy(act, label="mine"), make_context("eager"))
    place = getattr(caught.value, EVALUATION_PLACE)
    assert (place.variable, place.step) == ("mine", 1)
    assert place.entity.endswith("act")
    if hasattr(caught.value, "add_note"):  # from Python 3.11 on
        assert caught.value.__notes__ == ["mine: at step 1"]


def test_repeated_documents_leave_their_later_slots_empty():
    sizes = ObservationSizes(num_users=3, slate_size=3, num_docs=5, history_length=1)
    places = places_of(np.array([[1, 1, 2], [3, 4, 3], [0, 0, 0]]), sizes, "slates")
    np.testing.assert_array_equal(places, [[1, -1, 2], [3, 4, -1], [0, -1, -1]])
    assert places.dtype == np.int32
    assert fields.NULL_DOC_ID == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "external_policy: act must be a function from observations to slates, got None"),
        ({"act": 3}, "external_policy: act must be a function from observations to slates, or have methods"),
        ({"act": fixed, "label": 3}, "external_policy: label must be a text, got 3"),
        ({"act": fixed, "full_information": 1}, "external_policy: full_information must be"),
    ],
)
def test_errors_name_the_argument(options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        ExternalPolicy(**options)


@gin_config.configurable
def fixed_from_gin(observation):
    return fixed(observation)


@pytest.mark.slow
def test_it_stands_in_the_table_of_an_experiment(tmp_path):
    gin_config.parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        [
            *SMALL_WORLD,
            "recsys_po_rl.experiment.num_training_steps = 1",
            "recsys_po_rl.experiment.num_evaluation_users = 12",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.external_policy, @recsys_po_rl.lin_ucb]",
            "recsys_po_rl.external_policy.act = @recsys_po_rl.fixed_from_gin",
        ],
    )
    evaluation = experiment(output_dir=str(tmp_path / "run"), quiet=True).evaluation
    external = evaluation["policies"]["external_policy"]
    assert external["num_users"] == 12
    assert set(external["minus_learned"]) == {"mean", "interval95"}
    assert len(external["quarters"]["click_rate"]) == 4
    assert evaluation["policies"]["lin_ucb"]["details"] == {"alpha": 1.0, "ridge": 1.0}
    assert evaluation["full_information"] == []
    assert "external_" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_evaluate_policy_pairs_a_callable_with_others():
    found = recsys_po_rl.evaluate_policy(
        fixed, gin_bindings=[*SMALL_WORLD, "recsys_po_rl.SeededRuntime.mode = 'graph'"], num_users=12, seed=1
    )
    assert list(found) == ["external_policy", "uniform_random", "popular_by_clicks"]
    own = found["external_policy"]
    assert own.reward.num_units == 12
    assert own.minus_external.mean == 0.0
    for other in found.values():
        assert other.minus_external.mean == pytest.approx(other.reward.mean - own.reward.mean)
        assert other.reward.low <= other.reward.mean <= other.reward.high


@pytest.mark.slow
def test_few_users_are_the_first_of_a_batch_of_the_experiment():
    small = [
        *SMALL_WORLD,
        "recsys_po_rl.SeededRuntime.mode = 'eager'",
        "recsys_po_rl.experiment.evaluation_batch_size = 9",
    ]
    asked_for = []

    def act(observation):
        asked_for.append(len(observation["step"]))
        return np.zeros((9, 2), int)

    found = [
        recsys_po_rl.evaluate_policy(act, gin_bindings=small, num_users=number, policies=[])["external_policy"].reward
        for number in (4, 9)
    ]
    assert set(asked_for) == {9}
    assert [reward.num_units for reward in found] == [4, 9]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_users": 1}, "num_users must be"),
        ({"seed": -1}, "seed must be"),
        ({"policies": ["random"]}, "policies: each must"),
        ({"act": None}, "act must be a function[^\n]*, got None$"),
        ({"gin_files": "default.gin"}, "gin_files must be a list of texts"),
    ],
)
def test_wrong_arguments_of_evaluate_policy_are_one_line(options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        recsys_po_rl.evaluate_policy(**{"act": fixed, "gin_bindings": SMALL_WORLD, **options})
