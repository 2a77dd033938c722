"""The adapter to Stable-Baselines3 and its example."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import PPO

import recsys_po_rl.interop  # noqa: F401  (registers the environments)
from recsys_po_rl.common import validation
from recsys_po_rl.interop.stable_baselines3 import FlatVecEnv, flatten

ID = "recsys_po_rl/InterestEvolution-v0"
NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
HORIZON, NUM_ENVS = 4, 3
SMALL = [
    f"recsys_po_rl.experiment.horizon = {HORIZON}",
    f"{NETWORK}.num_docs = 7",
    f"{NETWORK}.num_topics = 4",
    f"{NETWORK}.history_length = 3",
]


def test_a_batch_is_flattened_as_gymnasium_flattens_one():
    space = spaces.Dict(
        {
            "a": spaces.MultiDiscrete([3, 4]),
            "b": spaces.Discrete(5, start=2),
            "c": spaces.Box(-1.0, 1.0, (2, 3), np.float32),
        }
    )
    space.seed(0)
    samples = [space.sample() for _ in range(6)]
    batch = {name: np.stack([sample[name] for sample in samples]) for name in space}
    expected = np.stack([spaces.flatten(space, sample) for sample in samples])
    np.testing.assert_allclose(flatten(space, batch), expected)
    assert flatten(space, batch).dtype == np.float32
    with pytest.raises(validation.InvalidInputError, match="only Dict, Box, Discrete and MultiDiscrete"):
        flatten(spaces.Text(3), ["abc"])


def make(**options):
    return gymnasium.make_vec(ID, num_envs=NUM_ENVS, gin_bindings=SMALL, mode="graph", **options)


@pytest.mark.slow
def test_episodes_follow_one_another_and_end_as_stable_baselines_expects():
    env = FlatVecEnv(make(autoreset_mode="DISABLED"))
    env.seed(5)
    first = env.reset()
    assert first.shape == (NUM_ENVS, *env.observation_space.shape)
    actions = np.array([[0, 1]] * NUM_ENVS)
    for step in range(1, HORIZON + 1):
        observation, rewards, dones, infos = env.step(actions)
        assert rewards.dtype == np.float32
        assert dones.all() == (step == HORIZON)
    assert all(info["terminal_observation"].shape == env.observation_space.shape for info in infos)
    assert not any(info["TimeLimit.truncated"] for info in infos)
    np.testing.assert_array_equal(observation, first)  # no slate yet: users of the next batch look the same
    assert env.env_is_wrapped(gymnasium.Wrapper) == [False] * NUM_ENVS
    assert env.get_attr("horizon") == [HORIZON] * NUM_ENVS
    env.close()


@pytest.mark.slow
def test_ppo_learns_through_it():
    env = FlatVecEnv(make(autoreset_mode="DISABLED", truncate=True))
    model = PPO("MlpPolicy", env, n_steps=HORIZON, batch_size=6, n_epochs=1, seed=0, device="cpu")
    before = [weight.detach().clone() for weight in model.policy.parameters()]
    model.learn(3 * HORIZON * NUM_ENVS)
    assert any((weight != old).any() for weight, old in zip(model.policy.parameters(), before))


def test_an_environment_that_resets_itself_is_refused():
    with pytest.raises(validation.InvalidInputError, match="autoreset mode must be DISABLED"):
        FlatVecEnv(make())


@pytest.mark.slow
def test_the_example_of_the_page_runs(root, capsys):
    page = (root / "docs" / "doors.md").read_text(encoding="utf-8")
    code = page.split("\n## Stable-Baselines3\n")[1].split("```\n")[1]
    for long, short in (
        ("num_envs=250", f"num_envs={NUM_ENVS}, mode='graph', gin_bindings={SMALL}"),
        ("n_steps=100", f"n_steps={HORIZON}"),
        ("2_000_000", "24"),
        ("evaluate_policy(act)", f"evaluate_policy(act, num_users=6, gin_bindings={SMALL})"),
    ):
        assert code.count(long) == 1
        code = code.replace(long, short)
    exec(compile(code, "doors.md", "exec"), {})
    assert "external_policy Estimate(" in capsys.readouterr().out


@pytest.mark.slow
def test_the_example_runs(root, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(root))
    flags = [f"--gin_bindings={binding}" for binding in SMALL]
    monkeypatch.setattr(
        sys,
        "argv",
        ["ppo", "--user_steps", "48", "--num_envs", "6", "--num_users", "12", *flags,
         "--gin_bindings=recsys_po_rl.SeededRuntime.mode = 'eager'",
         "--gin_bindings=recsys_po_rl.best_fixed_slate.rounds = ((2, 2),)"],
    )  # fmt: skip
    from examples import stable_baselines3_ppo

    stable_baselines3_ppo.main()
    assert "| PPO (Stable-Baselines3) |" in capsys.readouterr().out
