"""Distillation of a policy into a recommender: DAgger, cross-entropy to the slates that a teacher would show.

Ross, Gordon and Bagnell 2011, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning": the student acts, the teacher labels the states that the student visits, and the student is trained on the
labelled states of all rounds so far.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec
from recsim_ng.entities.recommendation import recommender

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import optimizers
from recsys_po_rl.training.loop import keys_of_step
from recsys_po_rl.training.replay import Recording, SlateReplay
from recsys_po_rl.training.side_by_side import SideBySideGradient

TEACHER_STATE = "teacher"  # prefix of the teacher's state
TEACHER_RANKS = "teacher_ranks"
PATH = "distillation"  # stream of the users
BATCHES_OF_UPDATE = 2  # side by side on two cores


def raise_if_no_student(student: Any) -> None:
    """Raise an error for a recommender that cannot be trained on a teacher's slates.

    Raises:
      InvalidInputError: if its slates do not have the field `doc_ranks`.
    """
    if fields.DOC_RANKS not in student.specs().get("slate").as_dict:
        raise validation.InvalidInputError(
            f"distillation needs a student whose slate has the field {fields.DOC_RANKS!r}, "
            f"that of {type(student).__name__} has none"
        )


class LabellingRecommender(recommender.BaseRecommender):
    """Recommender that shows the student's slates and computes those that a teacher would show in its place.

    Fields are those of the student, and in addition:
      teacher.*: state of the teacher, who observes the student's slates and the users' responses to them.
      teacher_ranks: int32 [U, S], in the slate; indices of the teacher's documents among the available documents.
    """

    def __init__(self, config: Config, student: Any, teacher: Any, name: str = "Recommender") -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          student: the recommender that acts.
          teacher: a recommender of the same sizes.
          name: name of the entity.

        Raises:
          InvalidInputError: if the teacher may leave slots of a slate empty.
        """
        super().__init__(config, name=name)
        if fields.EMPTY_SLOT in teacher.specs().get("slate").as_dict:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: the teacher must fill every slot, {type(teacher).__name__} may leave one empty"
            )
        self._student = student
        self._teacher = teacher

    def initial_state(self) -> Value:
        """Return the initial states of student and teacher."""
        return self._student.initial_state().union(self._teacher.initial_state().prefixed_with(TEACHER_STATE))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Update both states by the responses to the student's slates."""
        acted = self._student.next_state(previous_state, user_response, slate_docs)
        taught = self._teacher.next_state(previous_state.get(TEACHER_STATE), user_response, slate_docs)
        return acted.union(taught.prefixed_with(TEACHER_STATE))

    def slate_docs(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Value:
        """Return the student's slates and the teacher's documents; see the class for the fields."""
        shown = self._student.slate_docs(previous_state, user_obs, available_docs)
        taught = self._teacher.slate_docs(previous_state.get(TEACHER_STATE), user_obs, available_docs)
        pool = tf.convert_to_tensor(available_docs.get(fields.DOC_ID))
        wanted = tf.convert_to_tensor(taught.get(fields.DOC_ID))
        ranks = tf.argmax(tf.equal(wanted[..., tf.newaxis], pool), axis=-1, output_type=tf.int32)
        return shown.union(Value(**{TEACHER_RANKS: ranks}))

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        student = self._student.specs()
        state = self._teacher.specs().get("state").prefixed_with(TEACHER_STATE)
        ranks = ValueSpec(**{TEACHER_RANKS: student.get("slate").get(fields.DOC_RANKS)})
        return student.union(state.prefixed_with("state")).union(ranks.prefixed_with("slate"))


class Distiller:
    """Trainer of a student on the slates of a teacher."""

    def __init__(
        self,
        student: SimulationNetwork,
        labelled: SimulationNetwork,
        horizon: int,
        runtime_ctor: Callable[[SimulationNetwork], SeededRuntime],
        optimizer: Callable[[], tf.keras.optimizers.Optimizer] = tf.keras.optimizers.Adam,
    ) -> None:
        """Build optimizer and replay; compilation happens at the first call.

        Args:
          student: network whose recommender is trained.
          labelled: network of as many users with a `LabellingRecommender` of the same student.
          horizon: T, slates shown to a user.
          runtime_ctor: constructor of the runtime of a network.
          optimizer: constructor of a `tf.keras` optimizer.

        Raises:
          InvalidInputError: if the student cannot learn: its slates must be one Edward2 random variable, `doc_ranks`.
        """
        runtime = runtime_ctor(student)
        self._replay = SlateReplay(student.variables, runtime)
        if self._replay.random_fields != [fields.DOC_RANKS]:
            raise validation.InvalidInputError(
                f"distillation needs a student that draws {fields.DOC_RANKS!r} alone, "
                f"{type(student.recommender).__name__} draws {', '.join(self._replay.random_fields)}"
            )
        self._labelled = runtime_ctor(labelled)
        self._horizon = horizon
        self._variables = student.trainable_variables
        self._optimizer = optimizers.construct("distillation: optimizer", optimizer)
        self._optimizer.build(self._variables)
        self._weights = tf.fill((horizon, student.config["num_users"]), 1.0 / horizon)
        gradient = SideBySideGradient(
            self._replay, self._variables, _cross_entropy, num_statistics=1, mode=runtime.mode
        )
        self._gradient = gradient
        self._compiled_update: Callable[[list[Recording]], tf.Tensor] = self._update
        if runtime.mode != "eager":
            self._compiled_update = tf.function(functools.partial(self._update), autograph=False)

    def demonstrations(self, keys: Sequence[seeding.Keys]) -> list[Recording]:
        """Roll out the student, and return what it observed with the teacher's slates in place of its own.

        Args:
          keys: keys of each batch of users.
        """
        record = self._replay.record
        record[fields.SLATE_DOCS] = sorted({*record[fields.SLATE_DOCS], TEACHER_RANKS})
        stacked = self._labelled.trajectories(self._horizon, keys, record)
        recordings = []
        for of_batch in stacked:
            seen = {name: value.as_dict for name, value in of_batch.items()}
            labels = seen[fields.SLATE_DOCS][TEACHER_RANKS]
            recordings.append(self._replay.recorded(seen)._replace(draws=(labels,)))
        return recordings

    def update(self, recordings: Sequence[Recording]) -> float:
        """Update the student once.

        Args:
          recordings: results of `demonstrations`.

        Returns:
          The cross-entropy before the update: minus the mean log-probability of the teacher's slates, in nats.
        """
        return float(self._compiled_update(list(recordings)))

    def _update(self, recordings: list[Recording]) -> tf.Tensor:
        summed = self._gradient(recordings, [[self._weights] for _ in recordings])
        scale = 1.0 / len(recordings)  # the loss of each batch is a mean over its users
        gradients = [gradient * scale for gradient in summed.gradients]
        finite = tf.math.is_finite(tf.linalg.global_norm(gradients))
        tf.cond(finite, functools.partial(self._apply, gradients), lambda: False)
        return summed.statistics[0] * scale

    def _apply(self, gradients: Sequence[tf.Tensor]) -> bool:
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return True


def distill(distiller: Distiller, seed: int, num_rounds: int, updates_per_round: int, num_batches: int) -> list[float]:
    """Train the student for several rounds; an update that is not finite is omitted.

    In each round the student shows slates to fresh users. The first update uses the first batches of this round, each
    further update batches drawn at random from all rounds so far, all of which are kept in memory.

    Args:
      distiller: the student and its teacher.
      seed: seed of the run; users are those of path (`PATH`, round).
      num_rounds: at least 1.
      updates_per_round: at least 1.
      num_batches: batches of users in each round, at least 1.

    Returns:
      For each round the cross-entropy on its own first batches before its updates, in nats per slate.
    """
    known: list[Recording] = []
    cross_entropies = []
    generator = np.random.default_rng(seed)
    of_update = min(BATCHES_OF_UPDATE, num_batches)
    for number in range(1, num_rounds + 1):
        newest = distiller.demonstrations(keys_of_step(seed, number, num_batches, PATH))
        known += newest
        cross_entropies.append(distiller.update(newest[:of_update]))
        for _ in range(updates_per_round - 1):
            drawn = generator.choice(len(known), of_update, replace=False)
            distiller.update([known[place] for place in drawn])
    return cross_entropies


def _cross_entropy(log_probs: tf.Tensor, entropies: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the loss, summed over steps and averaged over users, and the same number as the only statistic."""
    del entropies
    loss = -tf.reduce_sum(tf.reduce_mean(log_probs * weights, axis=1))
    return loss, tf.stack([tf.stop_gradient(loss)])
