"""Gymnasium spaces of the observations and actions of one user."""

import numpy as np
from gymnasium import spaces

_LONGEST = float(np.finfo(np.float32).max)  # bound of times; Gymnasium warns of infinite bounds


def spaces_of(
    num_docs: int, slate_size: int, horizon: int, history_length: int
) -> tuple[spaces.Dict, spaces.MultiDiscrete]:
    """Return the spaces of observations and of actions, see `gymnasium.InterestEvolutionVectorEnv`.

    Args:
      num_docs: D.
      slate_size: S.
      horizon: T.
      history_length: H.
    """
    ids = [num_docs + 1]
    observations = spaces.Dict(
        {
            "slate": spaces.MultiDiscrete(ids * slate_size),
            "clicked": spaces.Discrete(slate_size + 1),
            "consumed_time": spaces.Box(0.0, _LONGEST, (1,), np.float32),
            "step": spaces.Discrete(horizon + 1),
            "doc_history": spaces.MultiDiscrete(ids * history_length),
            "time_history": spaces.Box(0.0, _LONGEST, (history_length,), np.float32),
        }
    )
    return observations, spaces.MultiDiscrete([num_docs] * slate_size)
