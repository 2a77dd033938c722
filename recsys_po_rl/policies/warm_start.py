"""Warm start of a training: the recommender first imitates a policy of the table."""

from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import tensorflow as tf

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.fully_observed_user import FullyObservedUser
from recsys_po_rl.policies import adapters
from recsys_po_rl.policies.base import Policy, PolicyContext, SearchCost, WarmStart
from recsys_po_rl.policies.full_information import FullInformationReference
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import distillation

# For `search_cost`, in user-steps of the learned policy: a user-step that is rolled out with labels, and one that is
# updated with, from the default experiment on two cores with the planner as teacher.
_ROLLOUT_COST = 10.0
_UPDATE_COST = 3.0
_USERS_OF_UPDATE = 250  # two batches of the default experiment


@gin_config.configurable
class Distillation:
    """Warm start by imitation of a teacher (DAgger), see `training.distillation`.

    Any recommender whose slate is the random variable `doc_ranks` can be the student. The teacher is a policy that
    needs no training and is the recommender of a network.

    Details: `warm_start` (the teacher's name) and `cross_entropies` (of each round, nats per slate).
    """

    def __init__(
        self,
        teacher: Union[Policy, Callable[..., Any]] = FullInformationReference,
        num_rounds: int = 30,
        updates_per_round: int = 50,
        users_per_round: Optional[int] = None,
        optimizer: Callable[[], tf.keras.optimizers.Optimizer] = tf.keras.optimizers.Adam,
    ) -> None:
        """Validate the arguments.

        Args:
          teacher: the policy that is imitated, given as a member of `experiment.policies`. It may observe the interest
            where the student does not.
          num_rounds: rollouts of the student, at least 1; the states of all rounds are kept in memory.
          updates_per_round: updates of the weights after each rollout, at least 1.
          users_per_round: fresh users of each rollout, rounded up to whole batches; None: those of a training step.
          optimizer: constructor of a `tf.keras` optimizer.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        owner = type(self).__name__
        if getattr(teacher, "needs_training", False):
            raise validation.InvalidInputError(
                f"{owner}.teacher must be a policy that needs no training, such as @recsys_po_rl.full_information_"
                f"reference, got {getattr(teacher, '__name__', type(teacher).__name__)}"
            )
        self.teacher = adapters.policies_from([teacher], f"{owner}.teacher")[0]
        self.num_rounds = validation.integer(f"{owner}: num_rounds", num_rounds, 1)
        self.updates_per_round = validation.integer(f"{owner}: updates_per_round", updates_per_round, 1)
        self.users_per_round = None
        if users_per_round is not None:
            self.users_per_round = validation.integer(f"{owner}: users_per_round", users_per_round, 1)
        self.optimizer = validation.constructor(f"{owner}: optimizer", optimizer)

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Validate the teacher; see `policies.base.WarmStart`."""
        self.teacher.validate(network_ctor)

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return the arguments as text; see `policies.base.WarmStart`."""
        names = ("teacher", "num_rounds", "updates_per_round", "users_per_round", "optimizer")
        arguments = ", ".join(f"{name}={describe(getattr(self, name))}" for name in names)
        return f"{type(self).__name__}({arguments})"

    def __call__(self, student: SimulationNetwork, context: PolicyContext, num_batches: int) -> Mapping[str, Any]:
        """Train the student to show the teacher's slates; see `policies.base.WarmStart`.

        Raises:
          LeftOutError: if the teacher cannot be built in this world.
          InvalidInputError: if the teacher is not the recommender of one network, or the student cannot learn.
        """
        distillation.raise_if_no_student(student.recommender)
        num_users = student.config["num_users"]
        if self.users_per_round is not None:
            num_batches = -(-self.users_per_round // num_users)
        self.teacher.build(context)  # what the context memoises is computed in the batches of the evaluation
        resized = context.resized(num_users)
        built = self.teacher.build(resized)
        if built.runtime is not None:
            raise validation.InvalidInputError(
                f"{type(self).__name__}: the teacher must be the recommender of a network, {self.teacher.name} is not"
            )
        labelled = resized.network(
            recommender_ctor=lambda config: distillation.LabellingRecommender(
                config, student.recommender, built.network.recommender
            ),
            full_information=any(isinstance(network.user, FullyObservedUser) for network in (student, built.network)),
        )
        distiller = distillation.Distiller(student, labelled, context.horizon, context.runtime, self.optimizer)
        cross_entropies = distillation.distill(
            distiller, context.seed, self.num_rounds, self.updates_per_round, num_batches
        )
        return {"warm_start": self.teacher.name, "cross_entropies": cross_entropies}

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of the teacher's search and of all rounds; see `policies.base.WarmStart`."""
        of_teacher = self.teacher.search_cost(context)
        users = self.users_per_round or context.batch_size
        of_update = min(users, _USERS_OF_UPDATE)
        of_round = _ROLLOUT_COST * users + _UPDATE_COST * self.updates_per_round * of_update
        user_steps = of_teacher.search_work + self.num_rounds * of_round * context.horizon
        return SearchCost(int(user_steps))


def validated(name: str, ctor: Optional[Callable[[], WarmStart]]) -> Optional[WarmStart]:
    """Construct a warm start, which validates its arguments.

    Args:
      name: name of the argument, for messages.
      ctor: constructor, called without arguments; None: no warm start.

    Raises:
      InvalidInputError: if the result is not a warm start, or an argument of its own is out of bounds.
    """
    if ctor is None:
        return None
    warm_start = validation.constructor(name, ctor)()
    if not callable(warm_start) or not hasattr(warm_start, "search_cost"):
        raise validation.InvalidTypeError(
            f"{name} must make a warm start (in gin: @recsys_po_rl.Distillation), got {type(warm_start).__name__}"
        )
    return warm_start
