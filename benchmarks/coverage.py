"""Measures how often bootstrap intervals across runs cover; writes COVERAGE.md beside itself.

    python benchmarks/coverage.py            # about a minute

Scores of runs are standard normal. The truth of the interquartile mean is 0. For the probability of improvement, the
second policy is 0, 0.5 or 1 standard deviation worse, and the lowest of the three coverages counts.
"""

import math
import pathlib

import numpy as np

from recsys_po_rl.evaluation import statistics

NUMBERS_OF_RUNS = (2, 3, 5, 10, 20)
SIMULATIONS = 10000  # standard error of a coverage of 0.9: 0.003
SHIFTS = (0.0, 0.5, 1.0)
BOOTSTRAP_SAMPLES = 1000


def coverage_of_interquartile_mean(num_runs: int, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """Share of intervals that hold 0, the interquartile mean of a standard normal law."""
    rng = np.random.default_rng(seed)
    covered = 0
    for simulation in range(simulations):
        found = statistics.bootstrap(
            statistics.interquartile_mean, rng.normal(size=num_runs), num_samples=BOOTSTRAP_SAMPLES, seed=simulation
        )
        covered += found.low <= 0.0 <= found.high
    return covered / simulations


def coverage_of_t(num_runs: int, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """The same for the t interval of the mean, beside which the others are shown."""
    rng = np.random.default_rng(seed)
    found = [statistics.mean_interval(rng.normal(size=num_runs)) for _ in range(simulations)]
    return float(np.mean([estimate.low <= 0.0 <= estimate.high for estimate in found]))


def coverage_of_improvement(num_runs: int, shift: float, simulations: int = SIMULATIONS, seed: int = 0) -> float:
    """Share of intervals that hold Phi(shift / sqrt(2)), the chance that N(shift, 1) beats N(0, 1)."""
    rng = np.random.default_rng(seed)
    truth = 0.5 * (1.0 + math.erf(shift / 2.0))
    covered = 0
    for simulation in range(simulations):
        found = statistics.bootstrap(
            statistics.probability_of_improvement, rng.normal(shift, size=num_runs), rng.normal(size=num_runs),
            num_samples=BOOTSTRAP_SAMPLES, seed=simulation,
        )  # fmt: skip
        covered += found.low <= truth <= found.high
    return covered / simulations


def main() -> None:
    """Writes the table."""
    lines = [
        "# Coverage of intervals across runs",
        "",
        f"Share of nominal 95% intervals that hold the truth, {SIMULATIONS} simulations of normal scores (standard",
        f"error at most 0.005), {BOOTSTRAP_SAMPLES} bootstrap samples. Written by `benchmarks/coverage.py`; the two",
        "bootstrap columns stand in `recsys_po_rl/evaluation/statistics.py` as `MEASURED_COVERAGE`. For probabilities",
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
