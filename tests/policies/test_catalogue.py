"""Policies made for a study: what each returns, which are left out, and the figures of the project's table."""

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
from recsys_po_rl.policies import baselines, catalogue
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

NUM_USERS, HORIZON = 12, 4
CHEAP = {
    "uniform_random": {},
    "popular_by_clicks": {"num_log_users": 24},
    "popular_by_time": {"num_log_users": 24},
    "best_fixed_topic": {"num_search_users": 24},
    "best_fixed_slate": {"rounds": ((20, 3), (2, 6))},
    "myopic_full_information": {},
    "tuned_full_information": {"coefficients": (0.0, 10.0), "num_search_users": 12},
    "full_information_reference": {"num_iterations": 1, "users_per_iteration": 12, "hidden": 4, "grid_points": 5},
    "belief_reference": {
        "num_iterations": 1, "users_per_iteration": 12, "hidden": 4, "grid_points": 5, "num_particles": 3,
    },
}  # fmt: skip


def make_study(num_topics=3, seed=1, mode="graph", num_users=NUM_USERS, horizon=HORIZON, num_docs=6, **options):
    sizes = {"num_topics": num_topics, "num_docs": num_docs, "slate_size": 2}
    network_ctor = functools.partial(
        simulation_config.create_interest_evolution_simulation_network,
        **{"corpus_ctor": corpus.ReferenceCorpus, "corpus_seed": 0, **sizes, **options},
    )
    runtime_ctor = functools.partial(SeededRuntime, mode=mode)
    return catalogue.Study(network_ctor, runtime_ctor, sizes, seed, horizon, num_users)


def make(name, study, **options):
    return getattr(catalogue, name)(study, **{**CHEAP[name], **options})


def network_of(study, policy):
    if isinstance(policy, simulation_config.SimulationNetwork):
        return policy
    return study.network(recommender_ctor=policy)


@pytest.mark.slow
def test_a_study_remembers_what_it_found_as_long_as_it_lives():
    study = make_study()
    assert study.popularity(24) is study.popularity(24)
    assert study.popularity(12) is not study.popularity(24)
    gone = weakref.ref(study)
    del study
    gc.collect()
    assert gone() is None


FAST = ("uniform_random", "popular_by_clicks")  # the others run in seconds each: slow tests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "num_topics"),
    [
        pytest.param(name, num_topics, marks=[] if name in FAST else pytest.mark.slow)
        for name, num_topics in [*((name, 3) for name in CHEAP), ("full_information_reference", 2)]
    ],
)
def test_every_policy_runs_and_repeats(name, num_topics):
    totals = []
    for attempt in range(2):
        if attempt == 0 or name in FAST:  # the searches of the others take seconds each: only their rollouts repeat
            study = make_study(num_topics)
            network = network_of(study, make(name, study))
            runtime = study.runtime(network)
        assert network.config["num_users"] == NUM_USERS
        rewards = evaluator.evaluate(runtime, HORIZON, 24, NUM_USERS, study.seed)
        assert rewards.total.shape == (24,)
        totals.append(rewards.total)
    np.testing.assert_array_equal(*totals)


@pytest.mark.parametrize("name", list(CHEAP)[5:])
def test_without_dynamics_planners_are_left_out(name):
    class Silent(user.InterestEvolutionUser):
        next_interest = None

    with pytest.raises(catalogue.LeftOutError, match=r"Silent lacks a dynamics\(\) of its own"):
        make(name, make_study(user_ctor=Silent))


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
    study = make_study(user_ctor=user_ctor)
    entity = study.network().user
    assert user.missing_dynamics(entity) == missing
    assert (entity.dynamics() is None) == bool(missing)
    if missing:
        with pytest.raises(catalogue.LeftOutError, match=f"lacks {re.escape(', '.join(missing))}\n"):
            make("myopic_full_information", study)
    else:
        assert isinstance(entity.dynamics(), protocols.UserDynamics)
        make("myopic_full_information", study)


@pytest.mark.parametrize("name", ["best_fixed_topic", "best_fixed_slate", "tuned_full_information"])
def test_without_a_static_corpus_searches_are_left_out(name):
    drawn = {"freeze_corpus": False, "corpus_ctor": corpus.CorpusWithTopicAndQuality, "num_topics": 4}
    with pytest.raises(catalogue.LeftOutError, match="not static"):
        make(name, make_study(**drawn))


@pytest.mark.slow
def test_users_who_differ_have_no_dynamic_program():
    differing = functools.partial(user.InterestEvolutionUser, no_click_mass=np.arange(NUM_USERS, dtype=np.float32))
    with pytest.raises(catalogue.LeftOutError, match="differ"):
        make("full_information_reference", make_study(2, user_ctor=differing))
    make("full_information_reference", make_study(2, user_ctor=differing), use_grid=False)


@pytest.mark.slow
def test_details_say_how_a_reference_was_computed():
    grid = make("full_information_reference", make_study(2)).details
    assert set(grid) == {"method", "grid_points", "grid_value", "grid_change"}
    fitted = make("full_information_reference", make_study(3)).details
    assert fitted["num_search_users"] == NUM_USERS
    assert len(fitted["mean_rewards"]) == 1
    assert make("best_fixed_slate", make_study()).details["exhaustive"]
    assert make("popular_by_clicks", make_study()).details["num_log_users"] == 24


@pytest.mark.slow
def test_first_interests_are_those_of_no_evaluated_user():
    study = make_study()
    found = study.first_interests(30)
    assert found.shape == (36, 3)
    network = study.network(recommender_ctor=baselines.UniformRandomRecommender)
    evaluated = study.runtime(network).trajectory(
        1, keys=seeding.make_keys(study.seed, "evaluation"), record={fields.USER_STATE: [fields.INTEREST]}
    )
    assert not np.isin(evaluated[fields.USER_STATE].get(fields.INTEREST), found).any()


@pytest.mark.parametrize(
    ("name", "option", "given"),
    [
        ("best_fixed_topic", "num_search_users", 0),
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
        make(name, make_study(), **{option: given})


# The corpora of the project's table: mean reward of the first 99 of 100 responses, 100 documents, slates of two.


def table_value(study, policy):
    network = network_of(study, policy)
    rewards = evaluator.evaluate(study.runtime(network), 100, 2000, 500, study.seed)
    tf.keras.backend.clear_session()
    return rewards.upstream_total.mean()


def table_study(num_topics, corpus_seed):
    return make_study(num_topics, 1, "xla", 500, 100, num_docs=100, corpus_seed=corpus_seed)


@pytest.mark.slow
@pytest.mark.parametrize(("corpus_seed", "random", "myopic"), [(0, 23.9, 36.3), (1, 27.8, 37.5), (2, 26.4, 38.7)])
def test_random_and_myopic_are_those_of_the_table(corpus_seed, random, myopic):
    study = table_study(10, corpus_seed)
    assert table_value(study, catalogue.uniform_random(study)) == pytest.approx(random, abs=1.0)
    assert table_value(study, catalogue.myopic_full_information(study)) == pytest.approx(myopic, abs=1.0)


@pytest.mark.slow
def test_the_references_of_ten_topics_are_not_below_the_table():
    study = table_study(10, 0)
    assert table_value(study, catalogue.best_fixed_slate(study)) > 52.6 - 1.0
    assert table_value(study, catalogue.full_information_reference(study)) > 67.0 - 1.0


@pytest.mark.slow
def test_the_references_of_two_topics_are_not_below_the_table():
    study = table_study(2, 0)
    assert table_value(study, catalogue.best_fixed_slate(study)) > 80.4 - 2.5
    reference = catalogue.full_information_reference(study, grid_points=61)
    assert table_value(study, reference) > 118.3 - 2.5
    assert abs(reference.details["grid_change"]) < 5.0  # 61 x 61 points
