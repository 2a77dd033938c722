"""Measures how often intervals over users and across runs cover; writes COVERAGE.md beside itself.

    python benchmarks/coverage.py            # about two minutes

Users are simulated in the default world. Their totals are the population: its mean is the truth, and samples are drawn
from it with replacement, the same users for both policies of a paired difference.

Scores of runs are standard normal. The truth of the interquartile mean is 0. For the probability of improvement, the
second policy is 0, 0.5 or 1 standard deviation worse, and the lowest of the three coverages counts.
"""

import functools
import math
import pathlib

import numpy as np

from recsys_po_rl import corpus
from recsys_po_rl.evaluation import evaluator, statistics
from recsys_po_rl.policies.best_fixed_topic import TopicRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

NUMBERS_OF_RUNS = (2, 3, 5, 10, 20)
SIMULATIONS = 10000  # standard error of a coverage of 0.9: 0.003
SHIFTS = (0.0, 0.5, 1.0)
BOOTSTRAP_SAMPLES = 1000
POPULATION = 10000  # users simulated
HORIZON = 100
NUMBERS_OF_USERS = (100, 500, 2000)
SIMULATIONS_OVER_USERS = 2000  # standard error of a coverage of 0.95: 0.005


def totals_of_users() -> tuple[np.ndarray, np.ndarray]:
    """Cumulative rewards of the same users under two policies: uniform random, and slates of one trashy topic."""
    totals = []
    for policy in (UniformRandomRecommender, functools.partial(TopicRecommender, topic=0)):
        network = create_interest_evolution_simulation_network(
            num_users=1000, num_topics=10, corpus_seed=0, corpus_ctor=corpus.ReferenceCorpus, recommender_ctor=policy
        )
        runtime = SeededRuntime(network.variables, mode="xla")
        totals.append(evaluator.evaluate(runtime, HORIZON, POPULATION, 1000, seed=0, behaviour=False).total)
    return totals[0], totals[1]


def coverage_over_users(
    first: np.ndarray, second: np.ndarray, num_users: int, simulations: int = SIMULATIONS_OVER_USERS, seed: int = 0
) -> tuple[float, float, float]:
    """Shares of t intervals that hold the population's mean: of either policy, and of their paired difference."""
    rng = np.random.default_rng(seed)
    covered = np.zeros(3)
    for _ in range(simulations):
        users = rng.integers(first.size, size=num_users)
        estimates = (
            (statistics.mean_interval(first[users]), first.mean()),
            (statistics.mean_interval(second[users]), second.mean()),
            (statistics.paired_difference(first[users], second[users]), (first - second).mean()),
        )
        covered += [estimate.low <= truth <= estimate.high for estimate, truth in estimates]
    of_one, of_other, of_difference = (covered / simulations).tolist()
    return of_one, of_other, of_difference


def coverage_of_interquartile_mean(num_runs: int, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """Share of intervals that hold 0, the interquartile mean of a standard normal distribution."""
    rng = np.random.default_rng(seed)
    covered = 0
    for simulation in range(simulations):
        estimate = statistics.bootstrap(
            statistics.interquartile_mean, rng.normal(size=num_runs), num_samples=BOOTSTRAP_SAMPLES, seed=simulation
        )
        covered += estimate.low <= 0.0 <= estimate.high
    return covered / simulations


def coverage_of_t(num_runs: int, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """The same for the t interval of the mean, beside which the others are shown."""
    rng = np.random.default_rng(seed)
    estimates = [statistics.mean_interval(rng.normal(size=num_runs)) for _ in range(simulations)]
    return float(np.mean([estimate.low <= 0.0 <= estimate.high for estimate in estimates]))


def coverage_of_improvement(num_runs: int, shift: float, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """Share of intervals that hold Phi(shift / sqrt(2)), the chance that N(shift, 1) beats N(0, 1)."""
    rng = np.random.default_rng(seed)
    truth = 0.5 * (1.0 + math.erf(shift / 2.0))
    covered = 0
    for simulation in range(simulations):
        estimate = statistics.bootstrap(
            statistics.probability_of_improvement, rng.normal(shift, size=num_runs), rng.normal(size=num_runs),
            num_samples=BOOTSTRAP_SAMPLES, seed=simulation,
        )  # fmt: skip
        covered += estimate.low <= truth <= estimate.high
    return covered / simulations


def main() -> None:
    """Writes the table."""
    first, second = totals_of_users()
    lines = [
        "# Coverage of intervals",
        "",
        "Written by `benchmarks/coverage.py`.",
        "",
        "## Over users",
        "",
        "Share of nominal 95% t intervals that hold the truth, standard error 0.005:",
        f"{SIMULATIONS_OVER_USERS} samples, drawn with replacement from the totals of {POPULATION} users",
        f"over {HORIZON} slates in the default world (10 topics, corpus 0).",
        "",
        "| users | uniform random | slates of topic 0 | paired difference |",
        "|---:|---:|---:|---:|",
    ]
    for num_users in NUMBERS_OF_USERS:
        shares = " | ".join(f"{share:.3f}" for share in coverage_over_users(first, second, num_users))
        lines.append(f"| {num_users} | {shares} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "## Across runs",
        "",
        f"Share of nominal 95% intervals that hold the truth, {SIMULATIONS} simulations of normal scores (standard",
        f"error at most 0.005), {BOOTSTRAP_SAMPLES} bootstrap samples. The two bootstrap columns stand in",
        "`recsys_po_rl/evaluation/statistics.py` as `MEASURED_COVERAGE`. For probabilities",
        f"of improvement, the lowest over shifts of {', '.join(map(str, SHIFTS))} standard deviations.",
        "",
        "| runs | t interval of the mean | interquartile mean, bootstrap | probability of improvement, bootstrap |",
        "|---:|---:|---:|---:|",
    ]
    for num_runs in NUMBERS_OF_RUNS:
        improvement = min(coverage_of_improvement(num_runs, shift) for shift in SHIFTS)
        lines.append(
            f"| {num_runs} | {coverage_of_t(num_runs):.3f} | {coverage_of_interquartile_mean(num_runs):.3f} | "
            f"{improvement:.3f} |"
        )
        print(lines[-1], flush=True)
    pathlib.Path(__file__).with_name("COVERAGE.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
