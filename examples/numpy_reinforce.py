"""A learner in NumPy alone, through `gymnasium.make_vec`: REINFORCE over slates drawn without replacement.

python examples/numpy_reinforce.py --corpus_seed 0 --episodes 150

Needs `pip install "recsys_po_rl[gym]"`. Nothing here knows the project but the id of the environment and
`evaluate_policy`, which puts the result beside other policies.
"""

import argparse
import time

import gymnasium
import numpy as np

import recsys_po_rl.interop  # noqa: F401  (registers the environments)
from recsys_po_rl import evaluate_policy, policies

DECAY = 0.8  # of the averages over the consumed documents, newest first


def features_of(observation, num_docs):
    """Averages of one-hot consumed documents, weighted by time, and a constant; float32 [U, D + 1]."""
    history, times = observation["doc_history"], observation["time_history"]
    weights = DECAY ** np.arange(history.shape[1])[::-1] * times
    features = np.zeros((len(history), num_docs + 1), np.float32)  # column 0 collects empty places
    np.add.at(features, (np.arange(len(history))[:, np.newaxis], history), weights)
    features[:, 0] = 1.0
    return features


def draw(logits, rng):
    """Documents of the two largest perturbed logits: draws without replacement from a softmax (Gumbel trick)."""
    noisy = logits + rng.gumbel(size=logits.shape)
    return np.argsort(-noisy, axis=1)[:, :2]


def score_gradient(logits, slates):
    """Gradient of the log-probability of slates with respect to the logits; float [U, D]."""
    gradient, left = np.zeros_like(logits), logits.copy()
    users = np.arange(len(logits))
    for slot in range(slates.shape[1]):
        shares = np.exp(left - left.max(axis=1, keepdims=True))
        gradient -= shares / shares.sum(axis=1, keepdims=True)
        gradient[users, slates[:, slot]] += 1.0
        left[users, slates[:, slot]] = -np.inf
    return gradient


def train(env, episodes, seed, learning_rate=0.05):
    """Learns a linear policy; returns its weights, float [D + 1, D]."""
    num_docs, rng = int(env.single_action_space.nvec[0]), np.random.default_rng(seed)
    weights = np.zeros((num_docs + 1, num_docs))
    first, second = np.zeros_like(weights), np.zeros_like(weights)  # moments of Adam
    observation, _ = env.reset(seed=seed)
    for episode in range(1, episodes + 1):
        steps, done = [], False
        while not done:
            features = features_of(observation, num_docs)
            logits = features @ weights
            slates = draw(logits, rng)
            observation, rewards, terminated, _, _ = env.step(slates)
            steps.append((features, score_gradient(logits, slates), rewards))
            done = bool(terminated.all())
        observation, _ = env.reset()
        to_go, gradient = 0.0, np.zeros_like(weights)
        for features, scores, rewards in reversed(steps):
            to_go = to_go + rewards
            advantages = (to_go - to_go.mean()) / (to_go.std() + 1e-8)
            gradient += features.T @ (scores * advantages[:, np.newaxis]) / (len(rewards) * len(steps))
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        weights += learning_rate * (first / (1 - 0.9**episode)) / (np.sqrt(second / (1 - 0.999**episode)) + 1e-8)
    return weights


def policy_of(weights):
    """Return the policy with these weights, a function from observations to slates."""
    rng = np.random.default_rng(1)
    return lambda observation: draw(features_of(observation, weights.shape[1]) @ weights, rng)


def main():
    """Trains, evaluates and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus_seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=150)
    parser.add_argument("--num_envs", type=int, default=500)
    parser.add_argument("--num_users", type=int, default=2000)
    parser.add_argument("--gin_bindings", action="append", default=[])
    flags = parser.parse_args()
    bindings = [*flags.gin_bindings, f"recsys_po_rl.experiment.corpus_seed = {flags.corpus_seed}"]
    env = gymnasium.make_vec(
        "recsys_po_rl/InterestEvolution-v0", num_envs=flags.num_envs, gin_bindings=bindings, autoreset_mode="DISABLED"
    )
    started = time.perf_counter()
    weights = train(env, flags.episodes, seed=flags.corpus_seed)
    seconds = time.perf_counter() - started
    compared = [policies.UniformRandom, policies.PopularByClicks, policies.BestFixedSlate, policies.LinUCB]
    found = evaluate_policy(
        policy_of(weights), gin_bindings=bindings, num_users=flags.num_users, seed=flags.corpus_seed, policies=compared
    )
    print(f"REINFORCE in NumPy: {flags.episodes} episodes of {flags.num_envs} users in {seconds:.0f} s\n")
    print("| policy | reward | 95% interval | minus NumPy's |\n|---|---|---|---|")
    for name, (reward, difference) in found.items():
        print(
            f"| {name} | {reward.mean:.2f} | {reward.low:.2f} to {reward.high:.2f} "
            f"| {difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f}) |"
        )


if __name__ == "__main__":
    main()
