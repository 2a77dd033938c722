"""Checker of Gymnasium vector environments whose users end together."""

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode


def check_vector_env(env, horizon, seed=3):
    """Asserts shapes, dtypes, autoreset, seeds, masks of infos, and that returned arrays are the caller's own.

    Args:
      env: a vector environment.
      horizon: number of steps after which all users end.
      seed: seed of the users.
    """
    mode = env.metadata["autoreset_mode"]
    assert isinstance(mode, AutoresetMode)
    assert env.observation_space == gymnasium.vector.utils.batch_space(env.single_observation_space, env.num_envs)
    assert env.action_space == gymnasium.vector.utils.batch_space(env.single_action_space, env.num_envs)
    env.action_space.seed(seed)
    actions = [env.action_space.sample() for _ in range(2 * horizon + 2)]
    first = episode(env, actions, horizon, seed)
    again = episode(env, actions, horizon, seed)
    other = episode(env, actions, horizon, seed + 1)
    assert_equal(first, again)
    assert not equal(first, other)
    env.reset(seed=seed)
    following = episode(env, actions, horizon, None)
    assert not equal(first, following)  # another batch of the same seed


def episode(env, actions, horizon, seed):
    """Steps through one episode and the beginning of the next; returns copies of all that was returned."""
    mode = env.metadata["autoreset_mode"]
    observation, info = env.reset(seed=seed)
    seen, kept = [copied(observation)], [observation]
    check(env, observation, info)
    begun = 0
    for number, action in enumerate(actions):
        before = action.copy()
        observation, rewards, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(action, before)
        check(env, observation, info)
        for array, dtype in ((rewards, np.float64), (terminated, np.bool_), (truncated, np.bool_)):
            assert array.shape == (env.num_envs,)
            assert array.dtype == dtype
        done = terminated | truncated
        steps = number + 1 - begun
        resets = mode is AutoresetMode.NEXT_STEP and steps == horizon + 1
        assert done.all() == (steps == horizon)
        assert done.any() == done.all()
        if resets:
            assert not rewards.any()
            assert not observation["step"].any()
            begun = number + 1
        if steps == horizon and mode is AutoresetMode.SAME_STEP:
            assert info["_final_obs"].all()
            assert not observation["step"].any()
            for final in info["final_obs"]:
                assert final in env.single_observation_space
                assert final["step"] == horizon
            begun = number + 1
        if steps == horizon and mode is AutoresetMode.DISABLED:
            observation, info = env.reset(options={"reset_mask": done})
            check(env, observation, info)
            begun = number + 1
        seen.append(copied((observation, rewards, terminated, truncated)))
        kept.append((observation, rewards, terminated, truncated))
    assert_equal(seen, kept)  # nothing that was returned changed later
    return seen


def check(env, observation, info):
    """Asserts that an observation is in its space, and that each entry of `info` has a mask."""
    assert observation in env.observation_space
    for name, space in env.observation_space.items():
        assert observation[name].dtype == space.dtype, name
    for name, value in info.items():
        if not name.startswith("_"):
            mask = info[f"_{name}"]
            assert mask.dtype == np.bool_
            assert mask.shape == (env.num_envs,)
            assert isinstance(value, dict) or len(value) == env.num_envs
    arrays = [value for value in (*observation.values(), *info.values()) if isinstance(value, np.ndarray)]
    for place, array in enumerate(arrays):
        assert not any(np.shares_memory(array, other) for other in arrays[:place] if array.dtype != object)


def copied(value):
    """Copies nested arrays."""
    if isinstance(value, dict):
        return {name: copied(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return tuple(copied(item) for item in value)
    return np.copy(value)


def equal(one, other):
    """Returns whether nested arrays are equal."""
    try:
        assert_equal(one, other)
    except AssertionError:
        return False
    return True


def assert_equal(one, other):
    """Asserts that nested arrays are equal."""
    np.testing.assert_equal(one, other)
