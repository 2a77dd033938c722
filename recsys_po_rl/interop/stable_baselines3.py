"""Adapter from a Gymnasium vector environment to a Stable-Baselines3 `VecEnv`.

Needs stable-baselines3 (`pip install "recsys_po_rl[stable-baselines3]"`), which brings PyTorch.
"""

from collections.abc import Sequence
from typing import Any, Optional

import gymnasium
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from recsys_po_rl.common import validation


def flatten(space: spaces.Space[Any], values: Any) -> np.ndarray:
    """Flatten a batch of values of a space, as `gymnasium.spaces.flatten` flattens one: integers become one-hot.

    Args:
      space: a Dict, Box, Discrete or MultiDiscrete space of one user.
      values: a batch of its values: arrays [U, ...], or a dict of them.

    Returns:
      float32 [U, `gymnasium.spaces.flatdim(space)`].

    Raises:
      InvalidInputError: if the space is of another kind.
    """
    if isinstance(space, spaces.Dict):
        return np.concatenate([flatten(space[key], values[key]) for key in space], axis=1)
    values = np.asarray(values)
    if isinstance(space, spaces.Box):
        return values.reshape(len(values), -1).astype(np.float32)
    if not isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        raise validation.InvalidInputError(f"only Dict, Box, Discrete and MultiDiscrete can be flattened, got {space}")
    sizes = np.atleast_1d(space.nvec.ravel() if isinstance(space, spaces.MultiDiscrete) else space.n)
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    columns = values.reshape(len(values), -1) - np.ravel(space.start) + offsets
    flat = np.zeros((len(values), int(sizes.sum())), np.float32)
    np.put_along_axis(flat, columns.astype(np.int64), 1.0, axis=1)
    return flat


class FlatVecEnv(VecEnv):
    """Gymnasium vector environment as a `VecEnv` with flat observations.

    Example:
        env = FlatVecEnv(gymnasium.make_vec("recsys_po_rl/InterestEvolution-v0", num_envs=250,
                                            autoreset_mode="DISABLED"))
        PPO("MlpPolicy", env).learn(1_000_000)

    All users of the environment must end their episodes together. The adapter then resets them, as Stable-Baselines3
    expects, and puts the last observations into `infos[i]["terminal_observation"]`.

    Attributes:
      single_space: space of the observations of one user before they are flattened.
    """

    def __init__(self, env: gymnasium.vector.VectorEnv) -> None:
        """Store the environment.

        Args:
          env: a vector environment whose users end together, with autoreset mode DISABLED.

        Raises:
          InvalidInputError: if the environment resets itself.
        """
        mode = env.metadata.get("autoreset_mode")
        if mode is not gymnasium.vector.AutoresetMode.DISABLED:
            raise validation.InvalidInputError(f"the environment's autoreset mode must be DISABLED, got {mode}")
        self._env = env
        self.single_space = env.single_observation_space
        self._actions: Optional[np.ndarray] = None
        size = spaces.flatdim(self.single_space)
        super().__init__(env.num_envs, spaces.Box(-np.inf, np.inf, (size,), np.float32), env.single_action_space)

    def reset(self) -> np.ndarray:
        """Begin new episodes of all users; float32 [U, observation]."""
        seeds = [seed for seed in self._seeds if seed is not None]
        observation, _ = self._env.reset(seed=seeds[0] if seeds else None)
        self._reset_seeds()
        return flatten(self.single_space, observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions of the next step; int [U, S]."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all users; return observations, rewards, dones and infos as Stable-Baselines3 expects them."""
        observation, rewards, terminated, truncated, _ = self._env.step(self._actions)
        dones = terminated | truncated
        flat = flatten(self.single_space, observation)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            for info, last, cut_off in zip(infos, flat, truncated & ~terminated):
                info.update({"terminal_observation": last, "TimeLimit.truncated": bool(cut_off)})
            flat = flatten(self.single_space, self._env.reset()[0])
        return flat, rewards.astype(np.float32), dones, infos

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environment, once for each user asked for."""
        return [getattr(self._env, attr_name)] * len(self._asked_for(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the environment, which all users share."""
        setattr(self._env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the environment once; return its result for each user asked for."""
        return [getattr(self._env, method_name)(*args, **kwargs)] * len(self._asked_for(indices))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return False for each user asked for: no single environment is wrapped."""
        return [False] * len(self._asked_for(indices))

    def _asked_for(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))
