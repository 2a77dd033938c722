"""Gymnasium environments: one user, or many users in one compiled program."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Optional, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from recsys_po_rl import catalogue_corpus, fields
from recsys_po_rl.common import validation
from recsys_po_rl.interop import stepping
from recsys_po_rl.interop.spaces import spaces_of
from recsys_po_rl.policies.external import OBSERVED, ObservationSizes, observation_of, places_of
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.step import Fields
from recsys_po_rl.simulation.stepping import EMPTY

ENVIRONMENT_ID = "recsys_po_rl/InterestEvolution-v0"
STREAM = "gymnasium"  # default name of the stream of users; an experiment's are "training", "evaluation" and others

Observation = dict[str, Any]
Info = dict[str, Any]


class InterestEvolutionVectorEnv(gymnasium.vector.VectorEnv[Observation, np.ndarray, np.ndarray]):
    """Users whose latent interests drift with what they consume, all in one compiled program.

    Action, int [U, S] in `MultiDiscrete([D] * S)`: for each slot the index of a document, from 0; the id of document
    `index` is `index + 1` unless the corpus says otherwise (`document_ids`). A document that a slate names again is
    shown once: its later slots stay empty, and the user cannot choose them.

    Observation, a dict of
      slate: int64 [U, S], ids of the documents shown last, 0 for empty slots and before the first step.
      clicked: int64 [U], the chosen slot, S for none.
      consumed_time: float32 [U, 1], time for which the chosen document was consumed, 0 for none.
      step: int64 [U], slates shown so far, 0 to T.
      doc_history: int64 [U, H], ids of the last documents consumed, newest last, 0 for empty places.
      time_history: float32 [U, H], consumed times of these.

    Reward, float64 [U]: the reward of the metrics entity, by default the consumed time.

    All users of a batch end together, after T steps. Info, a dict of arrays with a mask `_key` for each `key`:
      duplicates: int32 [U], slots of the last slate that repeated a document.
      interest: float32 [U, K], the latent interest, with `full_information` only.
      consumed_document: object [U], the id in the user's own table of the document chosen last, None for none; for
        corpora with such ids only.
      final_obs, final_info: at the end, with autoreset mode SAME_STEP only.

    `reset(seed=s)` begins with batch 0 of the users of seed s, which are the same whatever was simulated before. Every
    further reset, and every automatic one, goes on with the next batch: 1, 2, ... of the same seed. Without a seed the
    first reset draws one.

    Example:
        env = gymnasium.make_vec("recsys_po_rl/InterestEvolution-v0", num_envs=8)
        observation, info = env.reset(seed=0)
        observation, rewards, terminated, truncated, info = env.step(env.action_space.sample())

    Attributes:
      horizon: T.
      document_ids: ids of the documents by index: those of the user's own table, or 1 to D.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        gin_files: Sequence[str] = (),
        gin_bindings: Sequence[str] = (),
        corpus_seed: int = 0,
        full_information: bool = False,
        truncate: bool = False,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        stream: str = STREAM,
        mode: str = "xla",
        render_mode: None = None,
    ) -> None:
        """Build and trace the world; in XLA mode compilation happens at the first steps.

        Args:
          num_envs: U, number of users.
          gin_files: gin files of an experiment, as of the command line; none: the default experiment. The caller's own
            gin configuration is neither read nor changed.
          gin_bindings: gin bindings, as of the command line.
          corpus_seed: seed of the documents, where no binding of `experiment.corpus_seed` replaces it.
          full_information: whether `info` contains the latent interest.
          truncate: whether episodes end by `truncated` instead of `terminated`.
          autoreset_mode: a `gymnasium.vector.AutoresetMode`, or its name or value.
          stream: name of the stream of users. With "evaluation" batch b of seed s are the users of batch b in the
            evaluation of an experiment with seed s and `evaluation_batch_size` U.
          mode: mode of execution, see `SeededRuntime`.
          render_mode: None: nothing is rendered.

        Raises:
          InvalidInputError: one line that names an invalid argument.
        """
        self.num_envs = validation.integer("num_envs", num_envs, 1)
        self._full_information = validation.boolean("full_information", full_information)
        self._truncate = validation.boolean("truncate", truncate)
        self._autoreset = _autoreset_mode(autoreset_mode)
        if not isinstance(stream, str) or not stream:
            raise validation.InvalidTypeError(f"stream must be a text, got {validation.shown(stream)}")
        if render_mode is not None:
            raise validation.InvalidInputError(f"render_mode must be None, got {validation.shown(render_mode)}")
        self._stream = stream
        self.render_mode = None
        self.metadata = {**type(self).metadata, "autoreset_mode": self._autoreset}
        record = dict(OBSERVED)
        if self._full_information:
            record[fields.USER_OBSERVATION] = [fields.OBSERVED_INTEREST]
        world = stepping.world_from_gin(
            gin_files,
            gin_bindings,
            num_users=self.num_envs,
            corpus_seed=validation.integer("corpus_seed", corpus_seed, 0),
            full_information=self._full_information,
            mode=mode,
            record=record,
        )
        self.horizon = world.horizon
        self._simulation = world.simulation
        config = world.network.config
        self._sizes = ObservationSizes(
            self.num_envs, config["slate_size"], config["num_docs"], config["history_length"]
        )
        self._own_ids = catalogue_corpus.document_ids(world.network.corpus)
        self.document_ids: Sequence[Any] = self._own_ids or list(range(1, self._sizes.num_docs + 1))
        self.single_observation_space, self.single_action_space = spaces_of(
            num_docs=self._sizes.num_docs,
            slate_size=self._sizes.slate_size,
            horizon=self.horizon,
            history_length=self._sizes.history_length,
        )
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._seed: Optional[int] = None
        self._batch = 0
        self._ended = False

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[Mapping[str, Any]] = None
    ) -> tuple[Observation, Info]:
        """Begin the episodes of a new batch of users.

        Args:
          seed: seed of the users, see the class; None: the next batch of the present seed.
          options: `reset_mask`, bool [U], all true, as users end together; None.

        Raises:
          InvalidInputError: if the environment is closed, the seed is no integer, or an option is unknown.
        """
        self._raise_if_closed()
        self._check_options(options)
        if seed is not None:
            if isinstance(seed, Sequence):
                raise validation.InvalidTypeError("seed must be one integer, of the whole batch of users, got a list")
            self._seed, self._batch = validation.integer("seed", seed, 0), 0
        elif self._seed is None:
            self._seed = int(np.random.SeedSequence().generate_state(1)[0])
        return self._begin()

    def step(self, actions: Any) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, Info]:
        """Show a slate to every user.

        Args:
          actions: int [U, S], see the class. In autoreset mode NEXT_STEP the actions after the end are not used.

        Returns:
          Observations, rewards, terminated, truncated and infos, see the class.

        Raises:
          InvalidInputError: if the environment is closed, was not reset, or the actions have another shape or type, or
            are out of range.
        """
        self._raise_if_closed()
        if self._simulation.num_steps is None:
            raise validation.InvalidInputError("step needs users: call reset first")
        places = places_of(actions, self._sizes, "actions")
        none = np.zeros(self.num_envs, np.bool_)
        if self._ended:
            if self._autoreset is AutoresetMode.DISABLED:
                raise validation.InvalidInputError(
                    f"the episodes have ended after {self.horizon} steps: call reset before the next step"
                )
            observation, info = self._begin()
            return observation, np.zeros(self.num_envs), none, none.copy(), info
        result = self._simulation.step(places)
        observation = self._observation(result.state, result.response)
        info = self._info(result.state, observation, places)
        rewards = result.reward.numpy().astype(np.float64) + 0.0  # no -0.0, which eager mode computes
        self._ended = self._simulation.num_steps == self.horizon
        ended = np.full(self.num_envs, self._ended)
        if self._ended and self._autoreset is AutoresetMode.SAME_STEP:
            final_info, final = info, np.full(self.num_envs, None, dtype=object)
            for user in range(self.num_envs):
                final[user] = {key: np.copy(values[user]) for key, values in observation.items()}
            observation, info = self._begin()
            info |= {"final_obs": final, "_final_obs": ended.copy(), "final_info": final_info}
            info["_final_info"] = ended.copy()
        return observation, rewards, *((none, ended) if self._truncate else (ended, none)), info

    def close_extras(self, **kwargs: Any) -> None:
        """Release nothing: the environment holds no resources besides memory."""
        del kwargs

    def _raise_if_closed(self) -> None:
        if self.closed:
            raise validation.InvalidInputError("the environment is closed: make a new one")

    def _check_options(self, options: Optional[Mapping[str, Any]]) -> None:
        for name, value in (options or {}).items():
            validation.one_of("options: each", name, ["reset_mask"])
            if not np.all(value) or np.shape(value) != (self.num_envs,):
                raise validation.InvalidInputError(
                    f"options['reset_mask'] must be all true, bool [{self.num_envs}]: all users end together"
                )

    def _begin(self) -> tuple[Observation, Info]:
        assert self._seed is not None
        state = self._simulation.reset(seeding.make_keys(self._seed, self._stream, batch=self._batch))
        self._batch += 1
        self._ended = False
        observation = self._observation(state)
        return observation, self._info(state, observation)

    def _observation(self, state: Fields, response: Optional[Fields] = None) -> Observation:
        return observation_of(state, response, self._simulation.num_steps or 0, self._sizes)

    def _info(self, state: Fields, observation: Observation, places: Optional[np.ndarray] = None) -> Info:
        info: Info = {"duplicates": np.zeros(self.num_envs, np.int32)}
        if places is not None:
            info["duplicates"] = np.count_nonzero(places == EMPTY, axis=1).astype(np.int32)
        if self._full_information:
            info["interest"] = state[fields.USER_OBSERVATION][fields.OBSERVED_INTEREST].numpy()
        if self._own_ids is not None:
            consumed = np.full(self.num_envs, None, dtype=object)
            for user in np.flatnonzero(observation["clicked"] < self._sizes.slate_size):
                consumed[user] = self._own_ids[observation["slate"][user, observation["clicked"][user]] - 1]
            info["consumed_document"] = consumed
        return {**info, **{f"_{name}": np.ones(self.num_envs, np.bool_) for name in info}}


class InterestEvolutionEnv(gymnasium.Env[Observation, np.ndarray]):
    """One user of `InterestEvolutionVectorEnv`; the same spaces, rewards and seeds, without the axis of users."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, *, render_mode: None = None, **options: Any) -> None:
        """Build the world.

        Args:
          render_mode: None: nothing is rendered.
          **options: as of `InterestEvolutionVectorEnv`, but for num_envs and autoreset_mode.

        Raises:
          InvalidInputError: one line that names an invalid or unknown argument.
        """
        for name in options:
            validation.one_of("options: each", name, _OPTIONS)
        self._users = InterestEvolutionVectorEnv(
            1, autoreset_mode=AutoresetMode.DISABLED, render_mode=render_mode, **options
        )
        self.render_mode = None
        self.horizon = self._users.horizon
        self.observation_space = copy.deepcopy(self._users.single_observation_space)
        self.action_space = copy.deepcopy(self._users.single_action_space)

    @property
    def document_ids(self) -> Sequence[Any]:
        """Ids of the documents by index, see `InterestEvolutionVectorEnv`."""
        return self._users.document_ids

    def reset(
        self, *, seed: Optional[int] = None, options: Optional[dict[str, Any]] = None
    ) -> tuple[Observation, Info]:
        """Begin the episode of a new user, see `InterestEvolutionVectorEnv.reset`."""
        super().reset(seed=seed)
        if options:
            raise validation.InvalidInputError(f"options must be empty, got {validation.shown(sorted(options))}")
        observation, info = self._users.reset(seed=seed)
        return _of_one(observation), _of_one(info)

    def step(self, action: Any) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        """Show a slate, int [S], to the user; see `InterestEvolutionVectorEnv.step`."""
        action, shape = np.asarray(action), self.action_space.shape
        if action.shape != shape:
            raise validation.InvalidTypeError(
                f"action must be integers of shape {shape}, got {action.dtype} of shape {action.shape}"
            )
        observation, rewards, terminated, truncated, info = self._users.step(action[np.newaxis])
        return _of_one(observation), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), _of_one(info)

    def close(self) -> None:
        """Close the environment."""
        self._users.close()


_OPTIONS = ("gin_files", "gin_bindings", "corpus_seed", "full_information", "truncate", "stream", "mode")


def _of_one(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the only user, without masks."""
    return {
        name: np.int64(value[0]) if value.ndim == 1 and value.dtype != object else value[0]
        for name, value in values.items()
        if not name.startswith("_")
    }


def _autoreset_mode(given: Any) -> AutoresetMode:
    for mode in AutoresetMode:
        if given in (mode, mode.name, mode.value):
            return mode
    raise validation.InvalidInputError(
        f"autoreset_mode must be one of {', '.join(mode.name for mode in AutoresetMode)}, got {validation.shown(given)}"
    )


def register() -> None:
    """Register `ENVIRONMENT_ID` with Gymnasium, unless it is registered."""
    if ENVIRONMENT_ID not in gymnasium.registry:
        gymnasium.register(
            id=ENVIRONMENT_ID,
            entry_point=f"{__name__}:{InterestEvolutionEnv.__name__}",
            vector_entry_point=f"{__name__}:{InterestEvolutionVectorEnv.__name__}",
        )
