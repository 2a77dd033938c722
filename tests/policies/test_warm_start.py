"""Warm starts: validation, cost, and the policies that cannot be teachers."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, recommender, scoring
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config, experiment, resume, single_seed
from recsys_po_rl.policies import external, learned_variants, uniform_random, warm_start
from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from tests.support import toy_run

U, BATCH, D, K, S, H, E, T = 4, 6, 7, 3, 2, 3, 5, 3


def network(**options):
    return create_interest_evolution_simulation_network(
        **{
            "num_users": U, "num_docs": D, "num_topics": K, "slate_size": S, "history_length": H, "corpus_seed": 1,
            "corpus_ctor": corpus.ReferenceCorpus,
            "recommender_ctor": functools.partial(
                recommender.CollabFilteringRecommender, model_ctor=scoring.AveragedHistoryModel, doc_embed_dim=E
            ),
            **options,
        }
    )  # fmt: skip


@pytest.fixture
def context():
    runtime_ctor = functools.partial(SeededRuntime, mode="graph")
    return PolicyContext(network, runtime_ctor, network().config, seed=0, horizon=T, batch_size=BATCH)


class Fixed(Policy):
    """Policy of one slate, whose search counts its calls."""

    searches = 0

    def build(self, context):
        def search():
            Fixed.searches += 1
            return [3, 1]

        found = context.memoised("fixed", search)
        return BuiltPolicy(context.network(recommender_ctor=lambda config: FixedSlateRecommender(config, found)))

    def search_cost(self, context):
        return SearchCost(user_steps=1000, relative_cost=7.0)


class Nowhere(Policy):
    """Policy that no world has."""

    def build(self, context):
        raise LeftOutError("it is not known here")


@pytest.mark.slow
def test_a_student_is_trained_in_batches_of_its_own_and_searches_are_shared(context, monkeypatch):
    monkeypatch.setattr(Fixed, "searches", 0)
    student = network()
    distil = warm_start.Distillation(
        Fixed, num_rounds=2, updates_per_round=20, optimizer=functools.partial(tf.keras.optimizers.Adam, 0.1)
    )
    before = [variable.numpy() for variable in student.trainable_variables]
    details = distil(student, context, 2)
    assert details["warm_start"] == "Fixed"
    assert len(details["cross_entropies"]) == 2
    assert details["cross_entropies"][1] < 0.5 < details["cross_entropies"][0]
    assert Fixed.searches == 1
    Fixed().build(context)
    assert Fixed.searches == 1
    moved = [np.abs(var.numpy() - old).max() for var, old in zip(student.trainable_variables, before, strict=True)]
    assert min(moved) > 0.0


def test_the_cost_is_that_of_the_teacher_and_of_all_rounds(context):
    distil = warm_start.Distillation(Fixed, num_rounds=3, updates_per_round=5, users_per_round=8)
    user_steps = 7 * 1000 + 3 * (10 * 8 + 3 * 5 * 8) * T
    assert distil.search_cost(context) == SearchCost(user_steps=user_steps)
    policy = learned_variants.LearnedClicks(warm_start_ctor=lambda: distil)
    assert policy.search_cost(context) == SearchCost(user_steps=user_steps, num_trainings=1)
    assert learned_variants.LearnedClicks().search_cost(context) == SearchCost(num_trainings=1)


def test_a_teacher_that_is_no_recommender_is_refused(context):
    stranger = external.ExternalPolicy(act=lambda observation: np.tile([0, 1], (BATCH, 1)))
    with pytest.raises(validation.InvalidInputError, match="the teacher must be the recommender of a network, "):
        warm_start.Distillation(stranger)(network(), context, 1)


def test_a_teacher_that_cannot_be_built_is_one_line(context, tmp_path):
    plan = config.validated(
        **{
            **config.bound(experiment),
            **toy_run.TOY,
            "quiet": True,
            "warm_start_ctor": lambda: warm_start.Distillation(Nowhere),
        }
    )
    with pytest.raises(validation.InvalidInputError, match=r"experiment\.warm_start_ctor: it is not known here"):
        single_seed._start_warm(plan, network(), context, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_warm_start_is_refused():
    with pytest.raises(validation.InvalidTypeError, match="learned_slates: warm_start_ctor must make a warm start"):
        learned_variants.LearnedSlates(warm_start_ctor=uniform_random.UniformRandom)
    with pytest.raises(validation.InvalidInputError, match=r"must be a policy that needs no training.*got LearnedStep"):
        warm_start.Distillation(learned_variants.LearnedStep)
    with pytest.raises(validation.InvalidInputError, match=r"must be a policy that needs no training.*got LearnedStep"):
        warm_start.Distillation(learned_variants.LearnedStep())
    with pytest.raises(validation.InvalidInputError, match="Distillation: num_rounds must be an integer of at least 1"):
        warm_start.Distillation(num_rounds=0)


def test_distillations_are_told_apart_by_their_arguments():
    def text(**options):
        return resume.fingerprint({"": warm_start.Distillation(Fixed, **options)})[""]

    assert text() == text()
    different = {text(), text(num_rounds=3), text(users_per_round=4), text(optimizer=tf.keras.optimizers.SGD)}
    assert len(different) == 4
    assert resume.fingerprint({"": warm_start.Distillation(Nowhere)})[""] not in different


def test_a_resized_context_differs_in_its_batches_alone(context):
    resized = context.resized(U)
    assert (resized.batch_size, context.batch_size) == (U, BATCH)
    assert resized.network().config["num_users"] == U
    assert (resized.seed, resized.horizon, resized.config) == (context.seed, context.horizon, context.config)
    assert resized.memoised("x", lambda: 5) == 5
    assert context.memoised("x", lambda: 6) == 5
