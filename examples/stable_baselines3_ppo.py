"""PPO of Stable-Baselines3 in the default world, and its row beside the policies of the project.

python examples/stable_baselines3_ppo.py --corpus_seed 0 --minutes 20

Needs `pip install "recsys_po_rl[gym,stable-baselines3]"`.
"""

import argparse
import time

import gymnasium
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

import recsys_po_rl.interop  # noqa: F401  (registers the environments; before TensorFlow)
from recsys_po_rl import evaluate_policy, policies
from recsys_po_rl.interop.gymnasium import ENVIRONMENT_ID
from recsys_po_rl.interop.stable_baselines3 import FlatVecEnv, flatten


class TimeLimit(BaseCallback):
    """Ends the training after a number of minutes."""

    def __init__(self, minutes: float):
        """Store the limit."""
        super().__init__()
        self._end = time.perf_counter() + 60.0 * minutes

    def _on_step(self) -> bool:
        return time.perf_counter() < self._end


def train(bindings: list[str], minutes: float, user_steps: int, num_envs: int):
    """Train PPO; return a function from observations to slates, and the number of user-steps."""
    users = gymnasium.make_vec(ENVIRONMENT_ID, num_envs=num_envs, gin_bindings=bindings, autoreset_mode="DISABLED")
    env = FlatVecEnv(users)
    # One update an episode; consumed times are of the order of 1, so rewards are not scaled.
    model = PPO(
        "MlpPolicy", env, n_steps=users.horizon, batch_size=5000, n_epochs=4, gamma=1.0, gae_lambda=0.95,
        learning_rate=5e-4, ent_coef=0.003, seed=0, device="cpu", policy_kwargs={"net_arch": [64, 64]},
    )  # fmt: skip
    model.learn(user_steps, callback=TimeLimit(minutes))

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        slates, _ = model.predict(flatten(users.single_observation_space, observation), deterministic=False)
        return slates

    return act, model.num_timesteps


def main() -> None:
    """Trains, evaluates and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus_seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20, help="time limit of the training")
    parser.add_argument("--user_steps", type=int, default=10**9, help="limit of the steps of all users together")
    parser.add_argument("--num_envs", type=int, default=500)
    parser.add_argument("--num_users", type=int, default=2000, help="users of the evaluation")
    parser.add_argument("--gin_bindings", action="append", default=[])
    flags = parser.parse_args()

    bindings = [*flags.gin_bindings, f"recsys_po_rl.experiment.corpus_seed = {flags.corpus_seed}"]
    started = time.perf_counter()
    act, user_steps = train(bindings, flags.minutes, flags.user_steps, flags.num_envs)
    trained = time.perf_counter() - started
    evaluations = evaluate_policy(
        act,
        gin_bindings=bindings,
        num_users=flags.num_users,
        seed=flags.corpus_seed,
        policies=[policies.UniformRandom, policies.PopularByClicks, policies.BestFixedSlate, policies.LinUCB],
    )
    print(f"PPO: {user_steps} user-steps in {trained:.0f} s, corpus {flags.corpus_seed}\n")
    print("| policy | reward | 95% interval | minus PPO | 95% interval |\n|---|---|---|---|---|")
    for name, evaluation in evaluations.items():
        reward, difference = evaluation.reward, evaluation.minus_external
        print(
            f"| {'PPO (Stable-Baselines3)' if name == 'external_policy' else name} | {reward.mean:.2f} "
            f"| {reward.low:.2f} to {reward.high:.2f} | {difference.mean:+.2f} "
            f"| {difference.low:+.2f} to {difference.high:+.2f} |"
        )


if __name__ == "__main__":
    main()
