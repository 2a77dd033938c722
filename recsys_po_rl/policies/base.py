"""Contract of the policies that the learned policy is compared with, and the world in which they are built."""

import abc
import functools
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_state, recommender
from recsys_po_rl import user as user_lib
from recsys_po_rl.common import protocols
from recsys_po_rl.corpus import StaticCorpus
from recsys_po_rl.evaluation.evaluator import Rollouts
from recsys_po_rl.policies import planning
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

_Result = TypeVar("_Result")
_Self = TypeVar("_Self", bound="Policy")


class LeftOutError(Exception):
    """Policy that cannot be built in this world; the message is the reason in one line."""


class BuiltPolicy(NamedTuple):
    """Network that is evaluated, and how it was found."""

    network: SimulationNetwork  # of the context's batch size
    details: Mapping[str, Any] = {}  # entry `details` of evaluation.json: numbers, texts, lists; omitted if empty
    runtime: Optional[Rollouts] = None  # rolls the network out; None: a runtime of the context
    sees_interest: bool = False  # whether the policy observes the interest outside of the network


class SearchCost(NamedTuple):
    """Work of `Policy.build`; simulated users are not rounded up to whole batches."""

    user_steps: int = 0  # simulated user-steps: users times slates, at most
    value_key: Optional[Hashable] = None  # policies with equal keys share one search through the context; None: no key
    relative_cost: float = 1.0  # time of an evaluated user-step, in user-steps of the learned policy
    relative_search_cost: Optional[float] = None  # that of a user-step of the search; None: as of an evaluated one
    grid_slates: int = 0  # slates compared by a dynamic program: grid points x slates of S documents x steps
    num_trainings: int = 0  # trainings of the length of the learned policy's

    @property
    def search_work(self) -> float:
        """Time of the search without its trainings, in user-steps of the learned policy."""
        relative = self.relative_cost if self.relative_search_cost is None else self.relative_search_cost
        return relative * self.user_steps + planning.GRID_SLATE_COST * self.grid_slates


class Policy(abc.ABC):
    """Policy that is compared with the learned one: constructed once, built in the world of each seed.

    A subclass registered with `gin_config.configurable(name="...")` can be listed in `experiment.policies`. Its
    constructor validates the arguments, before training starts, and stores each under its parameter's name.

    Attributes:
      needs_training: whether `build` trains a policy.
    """

    needs_training = False

    def __init__(self) -> None:  # noqa: B027  (not abstract)
        """Take no arguments; a subclass that has arguments validates and stores them."""

    @property
    def name(self) -> str:
        """Name in evaluation.json: the class's name in gin, the class's own name if gin does not know it."""
        return gin_state.name_of(type(self)) or type(self).__name__

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the constructor by name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return a text that is equal in every process for policies with equal results.

        Args:
          describe: converts an argument to such a text.
        """
        arguments = ", ".join(f"{name}={describe(value)}" for name, value in self.arguments.items())
        return f"{self.name}({arguments})"

    def replaced(self: _Self, **changes: Any) -> _Self:
        """Return a policy with other arguments, as `dataclasses.replace` does.

        Args:
          **changes: new arguments by name.
        """
        return type(self)(**{**self.arguments, **changes})

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:  # noqa: B027  (optional)
        """Validate arguments for which a network is needed, before training starts; nothing by default.

        Args:
          network_ctor: constructor of the experiment's network, called with num_users, corpus_seed and options as in
            `create_interest_evolution_simulation_network`.

        Raises:
          InvalidInputError: one line that names an invalid argument.
        """

    @abc.abstractmethod
    def build(self, context: "PolicyContext") -> BuiltPolicy:
        """Build the network that is evaluated, searches included.

        Args:
          context: the world.

        Raises:
          LeftOutError: if the policy cannot be built in this world.
        """

    def search_cost(self, context: "PolicyContext") -> SearchCost:
        """Return the work of `build`, without simulating anything; nothing by default.

        Args:
          context: the world; only its sizes are read.
        """
        del context
        return SearchCost()


class WarmStart(Protocol):
    """Method that sets a recommender's weights before its training, such as `warm_start.Distillation`."""

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Validate arguments for which a network is needed; see `Policy.validate`."""
        ...

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return a text that is equal in every process for equal warm starts; see `Policy.fingerprint`."""
        ...

    def __call__(self, student: SimulationNetwork, context: "PolicyContext", num_batches: int) -> Mapping[str, Any]:
        """Set the weights of the student.

        Args:
          student: network whose recommender is trained.
          context: the world.
          num_batches: batches of users of the student's size in a training step.

        Returns:
          Entries of the policy's `details` in evaluation.json.
        """
        ...

    def search_cost(self, context: "PolicyContext") -> SearchCost:
        """Return the work of a call, without simulating anything."""
        ...


class Trainer(Protocol):
    """Trainer of further policies with the learned policy's learner, users and number of steps."""

    def train(
        self,
        recommender_ctor: Callable[..., Any],
        full_information: bool,
        warm_start: Optional["WarmStart"] = None,
    ) -> BuiltPolicy:
        """Train a recommender and return a network with its best weights.

        Args:
          recommender_ctor: constructor of the recommender, called with the config.
          full_information: whether users reveal their interest.
          warm_start: sets the weights before the training.

        Raises:
          LeftOutError: if the training was stopped.
        """
        ...


class FirstDocumentsRecommender(recommender.HistoryRecommender):
    """Recommender that shows the first S documents: a stand-in where only users and corpus matter."""

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the first places; int32 [U, S]."""
        del previous_state, user_obs, available_docs
        return tf.tile(tf.range(self._slate_size)[tf.newaxis], (self._num_users, 1))


class PolicyContext:
    """World at one seed in which policies are built and evaluated.

    Attributes:
      config: the network's configuration, see `create_interest_evolution_simulation_network`.
      seed: seed of the run.
      horizon: T.
      batch_size: number of users of the context's networks.
      trainer: trains further policies; None: policies that need training are left out.
      learned_weights: variables of the learned policy's recommender, in their order; None: not known here.
    """

    learned_weights: Optional[Sequence[np.ndarray]] = None

    def __init__(
        self,
        network_ctor: Callable[..., SimulationNetwork],
        runtime_ctor: Callable[..., SeededRuntime],
        config: Mapping[str, Any],
        seed: int,
        horizon: int,
        batch_size: int,
        trainer: Optional[Trainer] = None,
    ) -> None:
        """Store the arguments.

        Args:
          network_ctor: constructor of a network, called with num_users and, to replace the recommender,
            recommender_ctor.
          runtime_ctor: constructor of a runtime, called with a network's variables.
          config: the network's configuration.
          seed: seed of the run.
          horizon: T.
          batch_size: number of users of the context's networks.
          trainer: trains further policies.
        """
        self._network_ctor = network_ctor
        self._runtime_ctor = runtime_ctor
        self.config = config
        self.seed = seed
        self.horizon = horizon
        self.batch_size = batch_size
        self.trainer = trainer
        self._memo: dict[Hashable, Any] = {}

    def resized(self, batch_size: int) -> "PolicyContext":
        """Return the same world with networks of another number of users; memoised results are shared.

        Args:
          batch_size: number of users of the networks.
        """
        context = PolicyContext(
            self._network_ctor, self._runtime_ctor, self.config, self.seed, self.horizon, batch_size, self.trainer
        )
        context.learned_weights = self.learned_weights
        context._memo = self._memo
        return context

    def network(self, **options: Any) -> SimulationNetwork:
        """Return a network of `batch_size` users in this world; options as of the network's constructor."""
        return self._network_ctor(**{"num_users": self.batch_size, **options})

    def learned_network(self) -> SimulationNetwork:
        """Return a network with the learned policy.

        Raises:
          LeftOutError: if no policy was learned here.
        """
        if self.learned_weights is None:
            raise LeftOutError("no policy was learned here")
        network = self.network()
        for variable, weight in zip(network.recommender.variables, self.learned_weights, strict=True):
            variable.assign(weight)
        return network

    def runtime(self, network: SimulationNetwork) -> SeededRuntime:
        """Return a runtime of a network."""
        return self._runtime_ctor(network.variables)

    def memoised(self, key: Hashable, compute: Callable[[], _Result]) -> _Result:
        """Return the result of the first call with this key; results are freed with the context.

        Args:
          key: kind and arguments of the computation.
          compute: computes the result; called at the first call with a key.
        """
        if key not in self._memo:
            self._memo[key] = compute()
        result: _Result = self._memo[key]
        return result

    @functools.cached_property
    def _entities(self) -> SimulationNetwork:
        return self.network(recommender_ctor=FirstDocumentsRecommender)

    def modelled_user(self) -> Any:
        """Return a user entity whose `dynamics()` is not None, for planners.

        Raises:
          LeftOutError: if the entity's dynamics are not known.
        """
        user = self._entities.user
        missing = user_lib.missing_dynamics(user)
        if missing:
            raise LeftOutError(f"the user entity {type(user).__name__} lacks {', '.join(missing)}")
        return user

    def user_dynamics(self) -> protocols.UserDynamics:
        """Return the dynamics of the users, for planners.

        Raises:
          LeftOutError: if the dynamics are not known.
        """
        dynamics: protocols.UserDynamics = self.modelled_user().dynamics()
        return dynamics

    def documents(self) -> Value:
        """Return the D documents of this world, tensors by `fields.DOC_FIELDS`.

        Raises:
          LeftOutError: if the corpus is not static.
        """
        corpus = self._entities.corpus
        if not isinstance(corpus, StaticCorpus):
            raise LeftOutError(f"the corpus {type(corpus).__name__} is not static: its documents are not known before")
        return corpus.initial_state().map(tf.convert_to_tensor)

    def planning_network(self, value: Optional[protocols.ValueFunction] = None) -> SimulationNetwork:
        """Return a network with observed interests and a recommender that plans with a value function.

        Args:
          value: value of an interest, see `planning.plan`; None: 0.

        Raises:
          LeftOutError: if the user entity does not define its dynamics.
        """
        planner = functools.partial(
            planning.PlanningRecommender, user=self.modelled_user(), horizon=self.horizon, value=value
        )
        return self.network(recommender_ctor=planner, full_information=True)

    def first_interests(self, num_users: int) -> np.ndarray:
        """Draw initial interests of at least `num_users` users, not those of the evaluation; float32 [N, K]."""
        runtime = self.runtime(self._entities)
        return np.concatenate(
            [
                runtime.trajectory(
                    1,
                    keys=seeding.make_keys(self.seed, "references", "first_interests", batch=batch),
                    record={fields.USER_STATE: [fields.INTEREST]},
                )[fields.USER_STATE].get(fields.INTEREST)[0]
                for batch in range(-(-num_users // self.batch_size))
            ]
        )
