"""Every policy in a world: what is built, what is left out, what it costs, and the figures of the project's table."""

import functools
import gc
import re
import weakref

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, fields, simulation_config, user
from recsys_po_rl.common import protocols, validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.policies import (
    BeliefReference,
    BestFixedSlate,
    BestFixedTopic,
    BuiltPolicy,
    FullInformationReference,
    LearnedFullInformation,
    LeftOutError,
    MyopicFullInformation,
    Policy,
    PolicyContext,
    PopularByClicks,
    PopularByTime,
    SampledByPopularity,
    SearchCost,
    TunedFullInformation,
    UniformRandom,
    planning,
)
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

NUM_USERS, HORIZON = 12, 4
REFERENCE = {"num_iterations": 1, "users_per_iteration": 12, "hidden": 4, "grid_points": 5}
CHEAP = {
    "uniform_random": UniformRandom(),
    "popular_by_clicks": PopularByClicks(24),
    "popular_by_time": PopularByTime(24),
    "sampled_by_popularity": SampledByPopularity(24, 2.0),
    "best_fixed_topic": BestFixedTopic(24),
    "best_fixed_slate": BestFixedSlate(((20, 3), (2, 6))),
    "myopic_full_information": MyopicFullInformation(),
    "tuned_full_information": TunedFullInformation((0.0, 10.0), 12),
    "full_information_reference": FullInformationReference(**REFERENCE),
    "belief_reference": BeliefReference(num_particles=3, **REFERENCE),
}


def make_context(
    num_topics=3, seed=1, mode="graph", num_users=NUM_USERS, horizon=HORIZON, num_docs=6, cls=PolicyContext,
    trainer=None, **options,
):  # fmt: skip
    sizes = {"num_topics": num_topics, "num_docs": num_docs, "slate_size": 2}
    network_ctor = functools.partial(
        simulation_config.create_interest_evolution_simulation_network,
        **{"corpus_ctor": corpus.ReferenceCorpus, "corpus_seed": 0, **sizes, **options},
    )
    runtime_ctor = functools.partial(SeededRuntime, mode=mode)
    return cls(network_ctor, runtime_ctor, sizes, seed, horizon, num_users, trainer)


def test_names_are_those_of_gin():
    assert [policy.name for policy in CHEAP.values()] == list(CHEAP)
    assert LearnedFullInformation().name == "learned_full_information"

    class Unregistered(UniformRandom):
        pass

    assert Unregistered().name == "Unregistered"


def test_a_policy_is_replaced_as_a_dataclass_is():
    policy = FullInformationReference(hidden=3, use_grid=False)
    assert policy.arguments == {
        "use_grid": False, "grid_points": 121, "num_iterations": 10, "users_per_iteration": 1000, "hidden": 3,
    }  # fmt: skip
    assert policy.replaced(num_iterations=2).arguments == {**policy.arguments, "num_iterations": 2}
    assert UniformRandom().arguments == UniformRandom().replaced().arguments == {}
    with pytest.raises(validation.InvalidInputError, match="num_log_users"):
        PopularByClicks().replaced(num_log_users=0)


def test_a_context_memoises_as_long_as_it_lives():
    class Result:
        pass

    context = make_context()
    found = context.memoised(("key", 1), Result)
    assert context.memoised(("key", 1), Result) is found
    assert context.memoised(("key", 2), Result) is not found
    gone = weakref.ref(found)
    del context, found
    gc.collect()
    assert gone() is None


@pytest.mark.slow
def test_policies_share_a_log():
    class Counted(PolicyContext):
        networks = 0

        def network(self, **options):
            self.networks += options["recommender_ctor"] is UniformRandomRecommender
            return super().network(**options)

    context = make_context(cls=Counted)
    built = [policy(12).build(context) for policy in (PopularByClicks, PopularByTime, SampledByPopularity)]
    assert context.networks == 1
    assert [policy.details["num_log_users"] for policy in built] == [12, 12, 12]


COSTS = [
    (UniformRandom(), SearchCost()),
    (PopularByClicks(30), SearchCost(30 * HORIZON, ("popularity", 30))),
    (SampledByPopularity(30), SearchCost(30 * HORIZON, ("popularity", 30))),
    (BestFixedTopic(30), SearchCost(3 * 30 * HORIZON)),
    # 15 pairs of 6 documents: all, then the best 4.
    (BestFixedSlate(((20, 3), (4, 10))), SearchCost((15 * 3 + 4 * 10) * HORIZON)),
    # 10 at random, at most 5 of their neighbours, then 4.
    (BestFixedSlate(((10, 3), (4, 10))), SearchCost((15 * 3 + 4 * 10) * HORIZON)),
    (MyopicFullInformation(), SearchCost(relative_cost=planning.MYOPIC_COST)),
    (TunedFullInformation((0.0, 1.0), 30), SearchCost(2 * 30 * HORIZON, relative_cost=planning.VALUE_COST)),
    (LearnedFullInformation(), SearchCost(num_trainings=1)),
]


@pytest.mark.parametrize(("policy", "cost"), COSTS, ids=lambda given: getattr(given, "name", ""))
def test_a_search_states_its_cost(policy, cost):
    assert policy.search_cost(make_context()) == cost


def test_references_state_the_cost_of_their_value_and_share_it():
    for policy in (FullInformationReference(**REFERENCE), BeliefReference(num_particles=3, **REFERENCE)):
        fitted = policy.search_cost(make_context(3))
        assert fitted[:2] == (12 * HORIZON, ("fitted_value", 1, 12, 4))
        on_grid = policy.search_cost(make_context(2))
        assert on_grid[:2] == (0, ("grid_value", 5))
        assert on_grid.grid_slates == 5**2 * 15 * HORIZON
        assert policy.replaced(use_grid=False).search_cost(make_context(2)) == fitted


def test_nothing_is_trained_without_a_trainer():
    with pytest.raises(LeftOutError, match="no further policy can be trained here"):
        LearnedFullInformation().build(make_context())


def test_a_trainer_trains_the_given_recommender():
    built = BuiltPolicy(None, {"steps": 3})

    class Trainer:
        def train(self, recommender_ctor, full_information, warm_start):
            assert recommender_ctor is UniformRandomRecommender
            assert full_information
            assert warm_start is None
            return built

    policy = LearnedFullInformation(UniformRandomRecommender)
    assert policy.build(make_context(trainer=Trainer())) is built


def test_a_policy_must_define_build():
    class Nothing(Policy):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Nothing()


CHEAP_SEARCHES = ("uniform_random", "popular_by_clicks")


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_topics"), [*((name, 3) for name in CHEAP), ("full_information_reference", 2)])
def test_every_policy_runs_and_repeats(name, num_topics):
    totals = []
    for attempt in range(2):
        if attempt == 0 or name in CHEAP_SEARCHES:  # other searches take seconds each: only their rollouts repeat
            context = make_context(num_topics)
            network = CHEAP[name].build(context).network
            runtime = context.runtime(network)
        assert network.config["num_users"] == NUM_USERS
        rewards = evaluator.evaluate(runtime, HORIZON, 24, NUM_USERS, context.seed)
        assert rewards.total.shape == (24,)
        totals.append(rewards.total)
    np.testing.assert_array_equal(*totals)


@pytest.mark.parametrize("name", list(CHEAP)[list(CHEAP).index("myopic_full_information") :])
def test_without_dynamics_planners_are_left_out(name):
    class Silent(user.InterestEvolutionUser):
        next_interest = None

    with pytest.raises(LeftOutError, match=r"Silent lacks a dynamics\(\) of its own"):
        CHEAP[name].build(make_context(user_ctor=Silent))


class OwnResponse(user.InterestEvolutionUser):
    """User of a story of its own who inherits the methods of other dynamics."""

    def next_response(self, previous_state, slate_docs):
        return super().next_response(previous_state, slate_docs)


class OwnState(user.InterestEvolutionUser):
    """User with another change of the interest who inherits `next_interest`."""

    def next_state(self, previous_state, user_response, slate_docs):
        return super().next_state(previous_state, user_response, slate_docs)


class OwnDynamics(OwnState):
    """User who states the dynamics of its story."""

    def next_interest(self, interest, doc):
        return super().next_interest(interest, doc)

    def dynamics(self):
        return None if self.unmodelled_effects else self


class OwnResponseAgain(OwnResponse, OwnDynamics):
    """Subclass of a class that states its dynamics, with the story of another class."""


class SeparateDynamics(user.InterestEvolutionUser):
    """User whose dynamics are an object of their own."""

    def __init__(self, config):
        super().__init__(config)
        self._known = user.InterestEvolutionUser(config)

    def next_state(self, previous_state, user_response, slate_docs):
        return super().next_state(previous_state, user_response, slate_docs)

    def dynamics(self):
        return self._known


NOT_STATED = ["a dynamics() of its own"]


@pytest.mark.parametrize(
    ("user_ctor", "missing"),
    [
        (user.InterestEvolutionUser, []),
        (OwnResponse, NOT_STATED),
        (OwnState, NOT_STATED),
        (OwnDynamics, []),
        (OwnResponseAgain, NOT_STATED),
        (SeparateDynamics, []),
        (functools.partial(user.InterestEvolutionUser, reset_users_if_timed_out=True),
         ["next_interest with resets of users who timed out"]),
        (functools.partial(user.InterestEvolutionUser, interest_update_noise_scale=0.1), ["next_interest with noise"]),
        (functools.partial(OwnDynamics, interest_update_noise_scale=0.1), ["next_interest with noise"]),
    ],
)  # fmt: skip
def test_dynamics_that_are_not_those_of_the_story_are_missing(user_ctor, missing):
    context = make_context(user_ctor=user_ctor)
    entity = context.network().user
    assert user.missing_dynamics(entity) == missing
    assert (entity.dynamics() is None) == bool(missing)
    if missing:
        with pytest.raises(LeftOutError, match=f"lacks {re.escape(', '.join(missing))}$"):
            MyopicFullInformation().build(context)
    else:
        assert isinstance(entity.dynamics(), protocols.UserDynamics)
        MyopicFullInformation().build(context)


@pytest.mark.parametrize("name", ["best_fixed_topic", "best_fixed_slate", "tuned_full_information"])
def test_without_a_static_corpus_searches_are_left_out(name):
    drawn = {"freeze_corpus": False, "corpus_ctor": corpus.CorpusWithTopicAndQuality, "num_topics": 4}
    with pytest.raises(LeftOutError, match="not static"):
        CHEAP[name].build(make_context(**drawn))


@pytest.mark.slow
def test_users_who_differ_have_no_dynamic_program():
    differing = functools.partial(user.InterestEvolutionUser, no_click_mass=np.arange(NUM_USERS, dtype=np.float32))
    policy = CHEAP["full_information_reference"]
    with pytest.raises(LeftOutError, match="differ"):
        policy.build(make_context(2, user_ctor=differing))
    policy.replaced(use_grid=False).build(make_context(2, user_ctor=differing))


@pytest.mark.slow
def test_details_say_how_a_reference_was_computed():
    grid = CHEAP["full_information_reference"].build(make_context(2)).details
    assert set(grid) == {"method", "grid_points", "grid_value", "grid_change"}
    fitted = CHEAP["full_information_reference"].build(make_context(3)).details
    assert fitted["num_search_users"] == NUM_USERS
    assert len(fitted["mean_rewards"]) == 1
    assert CHEAP["best_fixed_slate"].build(make_context()).details["exhaustive"]
    assert CHEAP["popular_by_clicks"].build(make_context()).details["num_log_users"] == 24


@pytest.mark.slow
def test_first_interests_are_those_of_no_evaluated_user():
    context = make_context()
    found = context.first_interests(30)
    assert found.shape == (36, 3)
    network = context.network(recommender_ctor=UniformRandomRecommender)
    evaluated = context.runtime(network).trajectory(
        1, keys=seeding.make_keys(context.seed, "evaluation"), record={fields.USER_STATE: [fields.INTEREST]}
    )
    assert not np.isin(evaluated[fields.USER_STATE].get(fields.INTEREST), found).any()


@pytest.mark.parametrize(
    ("name", "option", "given"),
    [
        ("best_fixed_topic", "num_search_users", 0),
        ("sampled_by_popularity", "num_log_users", 0),
        ("sampled_by_popularity", "power", -1.0),
        ("best_fixed_slate", "rounds", ()),
        ("tuned_full_information", "num_search_users", 0),
        ("full_information_reference", "users_per_iteration", 0),
        ("full_information_reference", "use_grid", 1),
        ("belief_reference", "use_grid", 1),
        ("belief_reference", "users_per_iteration", 0),
    ],
)
def test_impossible_options_are_refused(name, option, given):
    with pytest.raises(validation.InvalidInputError, match=option):
        CHEAP[name].replaced(**{option: given})


# The corpora of the project's table: mean reward of the first 99 of 100 responses, 100 documents, slates of two.


def table_value(context, policy):
    built = policy.build(context)
    rewards = evaluator.evaluate(context.runtime(built.network), 100, 2000, 500, context.seed)
    tf.keras.backend.clear_session()
    return rewards.upstream_total.mean(), built.details


def table_context(num_topics, corpus_seed):
    return make_context(num_topics, 1, "xla", 500, 100, num_docs=100, corpus_seed=corpus_seed)


@pytest.mark.slow
@pytest.mark.parametrize(("corpus_seed", "random", "myopic"), [(0, 23.9, 36.3), (1, 27.8, 37.5), (2, 26.4, 38.7)])
def test_random_and_myopic_are_those_of_the_table(corpus_seed, random, myopic):
    context = table_context(10, corpus_seed)
    assert table_value(context, UniformRandom())[0] == pytest.approx(random, abs=1.0)
    assert table_value(context, MyopicFullInformation())[0] == pytest.approx(myopic, abs=1.0)


@pytest.mark.slow
def test_the_references_of_ten_topics_are_not_below_the_table():
    context = table_context(10, 0)
    assert table_value(context, BestFixedSlate())[0] > 52.6 - 1.0
    assert table_value(context, FullInformationReference())[0] > 67.0 - 1.0


@pytest.mark.slow
def test_the_references_of_two_topics_are_not_below_the_table():
    context = table_context(2, 0)
    assert table_value(context, BestFixedSlate())[0] > 80.4 - 2.5
    mean, details = table_value(context, FullInformationReference(grid_points=61))
    assert mean > 118.3 - 2.5
    assert abs(details["grid_change"]) < 5.0  # 61 x 61 points
