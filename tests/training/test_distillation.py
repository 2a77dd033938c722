"""Distillation: labels against what the teacher would show, cross-entropies by hand, and what the student becomes."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value, ValueSpec

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.common import validation
from recsys_po_rl.policies import planning
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import distillation
from recsys_po_rl.training.loop import keys_of_step

U, D, K, S, H, E, T = 6, 7, 3, 2, 3, 5, 4
SGD = functools.partial(tf.keras.optimizers.SGD, 1.0)
ADAM = functools.partial(tf.keras.optimizers.Adam, 0.1)


def network(recommender_ctor, full_information=False):
    return create_interest_evolution_simulation_network(
        num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus, full_information=full_information, recommender_ctor=recommender_ctor,
    )  # fmt: skip


def student_of(model_ctor=scoring.AveragedHistoryModel):
    tf.keras.utils.set_random_seed(1)
    return network(functools.partial(recommender.CollabFilteringRecommender, model_ctor=model_ctor, doc_embed_dim=E))


def graph(network):
    return SeededRuntime(network.variables, mode="graph")


def eager(network):
    return SeededRuntime(network.variables, mode="eager")


def distiller_of(student, teacher, full_information=False, optimizer=ADAM, runtime_ctor=eager):
    labelled = network(
        lambda config: distillation.LabellingRecommender(config, student.recommender, teacher), full_information
    )
    return labelled, distillation.Distiller(student, labelled, T, runtime_ctor, optimizer)


def planner():
    user = network(recommender.CollabFilteringRecommender).user
    ctor = functools.partial(planning.PlanningRecommender, user=user, horizon=T)
    return network(ctor, full_information=True).recommender


@pytest.mark.slow
def test_labels_are_the_teachers_slates_in_the_states_that_the_student_visits():
    student, teacher = student_of(), planner()
    labelled, _ = distiller_of(student, teacher, full_information=True)
    trajectory = eager(labelled).trajectory(T, keys=seeding.make_keys(5))
    labels = trajectory[fields.SLATE_DOCS].get(distillation.TEACHER_RANKS).numpy()
    shown = trajectory[fields.SLATE_DOCS].get(fields.DOC_RANKS).numpy()
    assert (labels != shown).any()
    for step in range(T):
        docs = trajectory[fields.AVAILABLE_DOCS].map(lambda field, step=step: field[step])
        interest = trajectory[fields.USER_STATE].get(fields.INTEREST)[step]
        left = tf.fill((U,), float(T - 1 - step))
        wanted = planning.plan(teacher._dynamics, docs, interest, left, S).ranks  # the function, not the entity
        np.testing.assert_array_equal(labels[step], wanted)
    # The student draws what it draws without a teacher, so the users are the same ones.
    alone = eager(student).trajectory(T, keys=seeding.make_keys(5))
    np.testing.assert_array_equal(alone[fields.SLATE_DOCS].get(fields.DOC_RANKS), shown)


@pytest.mark.slow
def test_cross_entropy_and_step_by_hand():
    """A student that ignores its input: the cross-entropy and its gradient have closed forms."""
    student = student_of()
    _, distiller = distiller_of(student, FixedSlateRecommender(student.config, [3, 1]), optimizer=SGD)
    for variable in student.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    scores = np.zeros(D)
    (bias,) = [var for var in student.trainable_variables if var.shape == (D,)]
    scores[:] = np.linspace(-1.0, 1.0, D)
    bias.assign(scores)
    recordings = distiller.demonstrations(keys_of_step(0, 1, 2, "x"))
    mass = np.exp(scores)
    first, second = mass / mass.sum(), np.where(np.arange(D) == 2, 0.0, mass) / (mass.sum() - mass[2])
    by_hand = -np.log(first[2]) - np.log(second[0])
    assert distiller.update(recordings) == pytest.approx(by_hand, rel=1e-6)
    taught = np.zeros(D)
    taught[[2, 0]] = 1.0
    np.testing.assert_allclose(bias.numpy(), scores - (first + second - taught), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_ctor",
    [scoring.AveragedHistoryModel, functools.partial(scoring.GRUModel, memory=("slates", "step"))],
    ids=["averaged", "gru"],
)
def test_a_student_comes_to_show_the_slates_of_its_teacher(model_ctor):
    student = student_of(model_ctor)
    teacher = FixedSlateRecommender(student.config, [3, 1])
    _, distiller = distiller_of(student, teacher, runtime_ctor=graph)
    found = distillation.distill(distiller, seed=0, num_rounds=2, updates_per_round=30, num_batches=1)
    assert len(found) == 2
    assert found[0] > 2.0
    assert found[-1] < 0.3 < found[0]
    shown = eager(student).trajectory(T, keys=seeding.make_keys(9))[fields.SLATE_DOCS].get(fields.DOC_ID).numpy()
    assert (shown == [3, 1]).all(axis=-1).mean() > 0.8


@pytest.mark.slow
def test_compiled_distillation_is_that_of_eager_mode():
    def found(runtime_ctor):
        student = student_of()
        teacher = FixedSlateRecommender(student.config, [3, 1])  # a planner's near ties depend on the last digit
        _, distiller = distiller_of(student, teacher, optimizer=SGD, runtime_ctor=runtime_ctor)
        return distillation.distill(distiller, seed=0, num_rounds=2, updates_per_round=3, num_batches=2)

    np.testing.assert_allclose(found(lambda network: SeededRuntime(network.variables)), found(eager), rtol=1e-5)


@pytest.mark.slow
def test_a_student_of_other_draws_and_a_teacher_with_empty_slots_are_refused():
    student = student_of()

    class Named(recommender.CollabFilteringRecommender):
        def slate_docs(self, previous_state, user_obs, available_docs):
            shown = super().slate_docs(previous_state, user_obs, available_docs)
            ranks = shown.get(fields.DOC_RANKS)
            rest = {name: field for name, field in shown.as_dict.items() if name != fields.DOC_RANKS}
            return Value(**rest, order=ranks)

        def specs(self):
            specs = super().specs().as_dict
            return ValueSpec(**{name.replace(fields.DOC_RANKS, "order"): spec for name, spec in specs.items()})

    other = network(functools.partial(Named, doc_embed_dim=E))
    with pytest.raises(validation.InvalidInputError, match="needs a student that draws 'doc_ranks' alone, Named draws"):
        distillation.Distiller(other, student, T, eager)
    with pytest.raises(validation.InvalidInputError, match="has the field 'doc_ranks', that of Named has none"):
        distillation.raise_if_no_student(other.recommender)

    class Sparing(FixedSlateRecommender):
        def specs(self):
            empty = ValueSpec(**{fields.EMPTY_SLOT: fields.tensor_spec((U, S))}).prefixed_with("slate")
            return super().specs().union(empty)

    with pytest.raises(validation.InvalidInputError, match="must fill every slot, Sparing may leave one empty"):
        distillation.LabellingRecommender(student.config, student.recommender, Sparing(student.config, [3, 1]))
