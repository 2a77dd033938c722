"""Training steps of the default experiment in one process and over workers of Ray, in turn.

    python benchmarks/training_workers.py            # writes the section of NOTES.md and RESULTS.md
    python benchmarks/training_workers.py --print    # prints it

One process uses both cores of a machine with two; a worker uses one. Both learners compute the same numbers.
"""

import argparse
import dataclasses
import os
import pathlib
import pickle
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
HEADING = "## One training over workers"
REPEATS = 15


class Counted:
    """Shards of workers, whose arrays are counted."""

    def __init__(self, shards: Any) -> None:
        """Store the shards."""
        self._shards = shards
        self.sent: dict[str, int] = {}

    def _count(self, name: str, arrays: Any) -> None:
        self.sent[name] = self.sent.get(name, 0) + len(pickle.dumps(arrays, protocol=5))

    def collect(self, keys: Sequence[Any]) -> Any:
        """Roll out."""
        self.sent = {}
        rollouts = self._shards.collect(keys)
        self._count("rewards and critic's inputs", [tuple(rollout) for rollout in rollouts])
        return rollouts

    def gradient(self, numbers: Sequence[int], advantages: Sequence[Any], bonus: Any) -> Any:
        """Compute a gradient."""
        summed = self._shards.gradient(numbers, advantages, bonus)
        self._count("weights", [variable.numpy() for variable in self._shards._variables])
        self._count("advantages", [of_shard.numpy() for of_shard in advantages])
        for _ in numbers:
            self._count("gradients", summed.gradients)
        return summed


def measured(num_workers: int) -> dict[str, Any]:
    """Median seconds of steps, and bytes of a step."""
    from recsys_po_rl import gin_config
    from recsys_po_rl.experiment import config as config_lib
    from recsys_po_rl.experiment import single_seed
    from recsys_po_rl.experiment.ray_executor import RayExecutor
    from recsys_po_rl.experiment.run import experiment
    from recsys_po_rl.training import loop

    gin_config.parse(["experiments/default.gin"], [])
    config = config_lib.validated(**config_lib.bound(experiment))
    with RayExecutor().training_workers(num_workers, quiet=True) as workers:
        here = single_seed.prepare(config, 0, 0)
        there = single_seed.prepare(dataclasses.replace(config, training_workers=workers), 0, 0)
        counted = Counted(there.learner._shards)
        there.learner.compute_shards_with(counted)
        learners = {"one process": here.learner, "workers": there.learner}
        times: dict[str, list[float]] = {name: [] for name in learners}
        for step in range(1, REPEATS + 2):
            keys = loop.keys_of_step(0, step, config.num_shards)
            for name, learner in learners.items():
                started = time.perf_counter()
                learner.step(keys, 0.0)
                times[name].append(time.perf_counter() - started)
        equal = all(
            (mine.numpy() == theirs.numpy()).all()
            for mine, theirs in zip(here.network.recommender.variables, there.network.recommender.variables)
        )
    return {
        "seconds": {name: statistics.median(of_learner[1:]) for name, of_learner in times.items()},
        "first": {name: of_learner[0] for name, of_learner in times.items()},
        "spread": {name: (min(of_learner[1:]), max(of_learner[1:])) for name, of_learner in times.items()},
        "sent": counted.sent,
        "equal": equal,
        "users": config.users_per_step,
        "shards": config.num_shards,
        "horizon": config.horizon,
    }


def section(num_workers: int) -> str:
    """The section of RESULTS.md."""
    result = measured(num_workers)
    one, many = result["seconds"]["one process"], result["seconds"]["workers"]
    user_steps = result["users"] * result["horizon"]
    lines = [
        HEADING,
        "",
        f"`python benchmarks/training_workers.py`. The default experiment: {result['users']} users a step in "
        f"{result['shards']} shards, {result['horizon']} slates; in one process, and over {num_workers} workers of "
        f"Ray, in turn, medians of {REPEATS} steps. Weights after {REPEATS + 1} steps are "
        f"{'equal, bit for bit' if result['equal'] else 'DIFFERENT'}. "
        f"{platform.machine()}, {num_cores()} cores, Python {platform.python_version()}.",
        "",
        "| | step (s) | least and most (s) | user-steps per second | first step (s) |",
        "|---|---|---|---|---|",
    ]
    for name, label in (("one process", "one process"), ("workers", f"{num_workers} workers")):
        least, most = result["spread"][name]
        seconds = result["seconds"][name]
        lines.append(
            f"| {label} | {seconds:.3f} | {least:.3f}, {most:.3f} | {user_steps / seconds:,.0f} "
            f"| {result['first'][name]:.1f} |"
        )
    sent = ", ".join(f"{name} {number / 1e6:.2f} MB" for name, number in result["sent"].items())
    lines += ["", f"Ratio of throughputs: {one / many:.2f}. Sent in a step: {sent}.", ""]
    return "\n".join(lines)


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def replace_section(path: pathlib.Path, text: str) -> None:
    """Write the section in the place of the previous one, or at the end."""
    before, _, after = path.read_text(encoding="utf-8").partition(HEADING + "\n")
    _, heading, rest = after.partition("\n## ")
    path.write_text(before.rstrip("\n") + "\n\n" + text + (heading + rest if heading else ""), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, default=2, help="number of workers")
    parser.add_argument("--print", action="store_true", help="print the section instead of writing it")
    arguments = parser.parse_args()
    text = section(arguments.workers)
    if arguments.print:
        sys.stdout.write(text)
        return
    for name in ("NOTES.md", "RESULTS.md"):
        replace_section(HERE / name, text)


if __name__ == "__main__":
    main()
