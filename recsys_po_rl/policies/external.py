"""Policies outside of the network: any callable from observations to slates, in the table of an experiment."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional, Protocol

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec

from recsys_po_rl import fields, gin_config, recommender
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext
from recsys_po_rl.simulation.rollout import Record
from recsys_po_rl.simulation.seeding import Keys
from recsys_po_rl.simulation.step import EVALUATION_PLACE, EvaluationPlace, Fields
from recsys_po_rl.simulation.stepping import EMPTY, SteppedSimulation
from recsys_po_rl.simulation_config import SimulationNetwork

Observation = dict[str, np.ndarray]


class ExternalRecommender(recommender.HistoryRecommender):
    """Recommender whose slates are assigned from outside before each step.

    State fields as in `HistoryRecommender`. Slate fields, in addition to those of `HistoryRecommender`:
      empty_slot: bool [U, S], whether nothing is shown in the slot; its doc_id is 0, and its other fields are zero.

    Attributes:
      places: int32 variable [U, S], places among the available documents from 0, or `EMPTY`.
    """

    def __init__(self, config: Config, name: str = "Recommender") -> None:
        """Create the entity; every slot is empty until `places` is assigned.

        Args:
          config: as in `HistoryRecommender`.
          name: name of the entity.
        """
        super().__init__(config, name=name)
        empty = np.full((self._num_users, self._slate_size), EMPTY, np.int32)
        self.places = tf.Variable(empty, trainable=False, name="places")

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the assigned places; int32 [U, S]."""
        del previous_state, user_obs, available_docs
        return tf.convert_to_tensor(self.places)

    def slate_docs(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Value:
        """Gather the documents of the slate; see the class for the fields."""
        shown = super().slate_docs(previous_state, user_obs, available_docs)
        empty = tf.equal(tf.convert_to_tensor(shown.get(fields.DOC_RANKS)), EMPTY)

        def masked(field: tf.Tensor) -> tf.Tensor:
            further = [1] * (len(field.shape) - 2)
            return tf.where(tf.reshape(empty, [*empty.shape, *further]), tf.zeros((), field.dtype), field)

        masks = {name: masked(tf.convert_to_tensor(shown.get(name))) for name in self._doc_fields}
        return Value(**masks, doc_ranks=shown.get(fields.DOC_RANKS), empty_slot=empty)

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        shape = (self._num_users, self._slate_size)
        own = {
            fields.DOC_ID: fields.tensor_spec(shape, fields.NULL_DOC_ID, self._num_docs, tf.int32),
            fields.DOC_RANKS: fields.tensor_spec(shape, EMPTY, self._num_docs - 1, tf.int32),
            fields.EMPTY_SLOT: fields.tensor_spec(shape, 0, 1, tf.int32),
        }
        return ValueSpec(**{**super().specs().as_dict, **{f"slate.{name}": spec for name, spec in own.items()}})


class ObservationSizes(NamedTuple):
    """Sizes of an observation, see `observation_of`."""

    num_users: int  # U
    slate_size: int  # S
    num_docs: int  # D
    history_length: int  # H


# Fields of the network from which observations are computed.
OBSERVED: Mapping[str, Sequence[str]] = {
    fields.RECOMMENDER_STATE: (fields.DOC_HISTORY, fields.CTIME_HISTORY),
    fields.USER_RESPONSE: (fields.CHOICE, fields.CONSUMED_TIME),
    fields.SLATE_DOCS: (fields.DOC_ID,),
}


def observation_of(state: Fields, response: Optional[Fields], step: int, sizes: ObservationSizes) -> Observation:
    """Return what a recommender can observe of its users.

    Args:
      state: fields before the next slate, with the recommender's histories.
      response: slate and response of the step before; None: there was none.
      step: slates shown so far.
      sizes: sizes of the network.

    Returns:
      slate: int64 [U, S], ids of the documents shown last, 0 for empty slots and before the first step.
      clicked: int64 [U], the chosen slot, S for none.
      consumed_time: float32 [U, 1], time for which the chosen document was consumed, 0 for none.
      step: int64 [U], slates shown so far.
      doc_history: int64 [U, H], ids of the last documents consumed, newest last, 0 for empty places.
      time_history: float32 [U, H], consumed times of these.
    """
    histories = state[fields.RECOMMENDER_STATE]
    if response is None:
        slate = np.zeros((sizes.num_users, sizes.slate_size), np.int64)
        choice = np.full(sizes.num_users, sizes.slate_size, np.int64)
        time = np.zeros((sizes.num_users, 1), np.float32)
    else:
        of_user = response[fields.USER_RESPONSE]
        slate = response[fields.SLATE_DOCS][fields.DOC_ID].numpy().astype(np.int64)
        choice = of_user[fields.CHOICE].numpy().astype(np.int64)
        time = np.maximum(of_user[fields.CONSUMED_TIME].numpy(), 0.0)[:, np.newaxis]
    return {
        "slate": slate,
        "clicked": choice,
        "consumed_time": time,
        "step": np.full(sizes.num_users, step, np.int64),
        "doc_history": histories[fields.DOC_HISTORY].numpy().astype(np.int64),
        "time_history": histories[fields.CTIME_HISTORY].numpy(),
    }


def places_of(slates: Any, sizes: ObservationSizes, name: str) -> np.ndarray:
    """Return validated slates with repeated documents replaced by `stepping.EMPTY`.

    Args:
      slates: int [U, S], indices of documents from 0 to D - 1.
      sizes: sizes of the network.
      name: name of the slates, for messages.

    Returns:
      int32 [U, S].

    Raises:
      InvalidInputError: one line, if the slates have another shape or type, or are out of range.
    """
    shape = (sizes.num_users, sizes.slate_size)
    try:
        given = np.asarray(slates)
    except ValueError as error:  # rows of different lengths
        raise validation.InvalidTypeError(f"{name} must be integers of shape {shape}: {error}") from error
    if given.dtype.kind not in "iu" or given.shape != shape:
        raise validation.InvalidTypeError(
            f"{name} must be integers of shape {shape}, got {given.dtype} of shape {given.shape}"
        )
    if given.min() < 0 or given.max() >= sizes.num_docs:
        wrong = given[(given < 0) | (given >= sizes.num_docs)][0]
        raise validation.InvalidInputError(
            f"{name} must be indices of documents from 0 to {sizes.num_docs - 1}, got {wrong}"
        )
    places = given.astype(np.int32)
    for slot in range(1, sizes.slate_size):
        repeated = (given[:, slot, np.newaxis] == given[:, :slot]).any(axis=1)
        places[repeated, slot] = EMPTY
    return places


class Agent(Protocol):
    """Policy that keeps a state of its own for each user."""

    def reset(self, num_users: int) -> None:
        """Begin the episodes of a new batch of users."""

    def act(self, observation: Observation) -> Any:
        """Return the slates of the next step, int [U, S]; see `observation_of` and `places_of`."""


@gin_config.configurable(name="external_policy")
class ExternalPolicy(Policy):
    """Policy of any callable from observations to slates, on the same users and random draws as all others.

    Example, in gin, with a module of one's own that registers `cycle` with `gin.configurable`:

        import my_policies
        recsys_po_rl.external_policy.act = @my_policies.cycle
        recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random, @recsys_po_rl.external_policy]
    """

    def __init__(self, act: Any = None, label: str = "external_policy", full_information: bool = False) -> None:
        """Validate the arguments.

        Args:
          act: a function from an observation (see `observation_of`) to slates, int [U, S], indices of documents from 0
            to D - 1 (a document named twice is shown once); or an `Agent`, or a class of agents, which is called
            without arguments.
          label: name in evaluation.json of a policy that is constructed in Python; in gin, scopes tell policies apart.
          full_information: whether observations also have the key interest, float32 [U, K].

        Raises:
          InvalidInputError: if an argument is missing or has the wrong type.
        """
        name = "external_policy"
        if act is None:
            raise validation.InvalidInputError(f"{name}: act must be a function from observations to slates, got None")
        if not callable(act) and not callable(getattr(act, "act", None)):
            raise validation.InvalidTypeError(
                f"{name}: act must be a function from observations to slates, or have methods reset and act, "
                f"got {validation.shown(act)}"
            )
        if not isinstance(label, str) or not label:
            raise validation.InvalidTypeError(f"{name}: label must be a text, got {validation.shown(label)}")
        self.act = act
        self.label = label
        self.full_information = validation.boolean(f"{name}: full_information", full_information)

    @property
    def name(self) -> str:
        """Name in evaluation.json."""
        return self.label

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Build a runtime that asks the callable at each step; see `Policy.build`."""
        network = context.network(recommender_ctor=ExternalRecommender, full_information=self.full_information)
        agent = self.act() if isinstance(self.act, type) else self.act
        runtime = context.runtime(network)
        sizes = ObservationSizes(
            context.batch_size,
            context.config["slate_size"],
            network.config["num_docs"],
            context.config["history_length"],
        )
        return BuiltPolicy(
            network,
            runtime=ExternalRuntime(network, runtime.mode, agent, sizes, self.label, self.full_information),
            sees_interest=self.full_information,
        )


class ExternalRuntime:
    """Runtime of a network whose slates a callable chooses; what `evaluator.evaluate` needs of a `SeededRuntime`."""

    def __init__(
        self,
        network: SimulationNetwork,
        mode: str,
        agent: Any,
        sizes: ObservationSizes,
        label: str,
        full_information: bool,
    ) -> None:
        """Store the arguments.

        Args:
          network: a network whose recommender is an `ExternalRecommender`.
          mode: mode of execution, see `SeededRuntime`.
          agent: a function from observations to slates, or an `Agent`.
          sizes: sizes of the network.
          label: name of the policy, for messages.
          full_information: whether observations have the interest.
        """
        self._network = network
        self._mode = mode
        self._agent = agent
        self._sizes = sizes
        self._label = label
        self._full_information = full_information
        self._simulations: dict[Any, SteppedSimulation] = {}

    @property
    def variables(self) -> Sequence[Any]:
        """Variables of the network."""
        variables: Sequence[Any] = self._network.variables
        return variables

    def trajectories(self, length: int, keys: Sequence[Keys], record: Record) -> list[dict[str, Value]]:
        """Return trajectories of several batches of users, as `SeededRuntime.trajectories` does.

        The last value has no slate: its fields that depend on one are those of the value before.

        Args:
          length: T + 1, at least 2.
          keys: keys of each batch.
          record: fields to stack, by variable name.

        Raises:
          InvalidInputError: one line that names the step, if slates are invalid.
        """
        return [self._trajectory(length, batch, record) for batch in keys]

    def _simulation(self, record: Record) -> SteppedSimulation:
        recorded = {name: {*names} for name, names in record.items()}
        for name, names in OBSERVED.items():
            recorded.setdefault(name, set()).update(names)
        if self._full_information:
            recorded.setdefault(fields.USER_OBSERVATION, set()).add(fields.OBSERVED_INTEREST)
        ordered = {name: sorted(names) for name, names in sorted(recorded.items())}
        key = str(ordered)
        if key not in self._simulations:
            self._simulations[key] = SteppedSimulation(
                self._network.variables, self._network.recommender.places, self._mode, ordered
            )
        return self._simulations[key]

    def _trajectory(self, length: int, keys: Keys, record: Record) -> dict[str, Value]:
        simulation = self._simulation(record)
        state, response = simulation.reset(keys), None
        if hasattr(self._agent, "reset"):
            self._agent.reset(self._sizes.num_users)
        rows: dict[tuple[str, str], list[np.ndarray]] = {
            (name, field): [] for name, names in record.items() for field in names
        }
        for step in range(length - 1):
            result = simulation.step(self._slates(state, response, step))
            _append(rows, {**state, **result.response})
            state, response = result.state, result.response
        _append(rows, {**state, **(response or {})})
        return {
            name: Value(**{field: tf.convert_to_tensor(np.stack(rows[name, field])) for field in names})
            for name, names in record.items()
        }

    def _slates(self, state: Fields, response: Optional[Fields], step: int) -> np.ndarray:
        observation = observation_of(state, response, step, self._sizes)
        if self._full_information:
            observation["interest"] = state[fields.USER_OBSERVATION][fields.OBSERVED_INTEREST].numpy()
        act = getattr(self._agent, "act", self._agent)
        try:
            slates = act(observation)
        except Exception as error:  # any error of the callable, which is raised again with its place
            place = EvaluationPlace(self._label, getattr(act, "__qualname__", type(act).__qualname__), step)
            vars(error).setdefault(EVALUATION_PLACE, place)
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(f"{self._label}: at step {step}")
            raise
        return places_of(slates, self._sizes, f"{self._label}: slates at step {step}")


def _append(rows: Mapping[tuple[str, str], list[np.ndarray]], values: Fields) -> None:
    for (name, field), row in rows.items():
        row.append(values[name][field].numpy())
