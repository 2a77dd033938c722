"""Calibration: short measurements of a training step and an evaluation on this machine, and its available memory."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import time
import timeit
from collections.abc import Callable
from typing import NamedTuple

from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.policies.base import PolicyContext
from recsys_po_rl.training import loop

SMALL = 16  # smallest batch that is measured
LARGE = 250  # largest batch that is measured
USUAL_DOCS = 100  # with more documents, fewer users are measured
REPETITIONS = 3


class Cost(NamedTuple):
    """Cost of a training step or an evaluation."""

    first_seconds: float  # building, tracing, compiling
    seconds_per_user_step: float
    program_bytes: float  # bytes that stay in memory, small batch included
    bytes_per_user_step: float  # bytes of each user-step that is in memory at once


def of_training(config: ExperimentConfig, context: PolicyContext) -> Cost:
    """Measure training steps of two sizes in the world of a context."""
    seed, num_shards = context.seed, config.num_shards

    def step_of(num_users: int) -> Callable[[], object]:
        small = dataclasses.replace(config, users_per_step=num_users * num_shards, resume=False)
        learner = single_seed.prepare(small, seed, config.world_seed(seed)).learner
        keys = loop.keys_of_step(seed, 0, num_shards, "calibration")
        return lambda: [float(scalar) for scalar in learner.step(keys, 0.0)._asdict().values()]  # waits for the step

    return _cost(step_of, config.users_per_step // num_shards, num_shards * config.horizon, context.config["num_docs"])


def of_evaluation(context: PolicyContext) -> Cost:
    """Measure evaluations of two sizes in the world of a context."""

    def evaluation_of(num_users: int) -> Callable[[], object]:
        world = context.resized(num_users)
        runtime, total = world.runtime(world.network()), evaluator.BATCHES_AT_ONCE * num_users
        return lambda: evaluator.evaluate(runtime, world.horizon, total, num_users, world.seed, ("calibration",))

    steps = evaluator.BATCHES_AT_ONCE * context.horizon
    return _cost(evaluation_of, context.batch_size, steps, context.config["num_docs"])


def _cost(work_of: Callable[[int], Callable[[], object]], num_users: int, steps: int, num_docs: int) -> Cost:
    """Measure work of two sizes, at most `num_users`, with `steps` user-steps for each user of a batch."""
    large = min(num_users, max(2, LARGE * USUAL_DOCS // max(USUAL_DOCS, num_docs)))
    started, before = time.perf_counter(), resident_bytes()
    work_of(max(1, min(SMALL, large // 2)))()
    first, program = time.perf_counter() - started, max(0.0, resident_bytes() - before)
    before, work = resident_bytes(), work_of(large)
    work()
    grown = max(0.0, resident_bytes() - before - program)
    seconds = statistics.median(timeit.repeat(work, number=1, repeat=REPETITIONS))
    return Cost(first, seconds / (large * steps), program, grown / (large * steps))


def resident_bytes() -> float:
    """Return the resident memory of this process; 0 if the system does not provide it."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", encoding="ascii") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0.0


def available_bytes() -> float:
    """Return the memory available to a new process; infinite if the system does not provide it."""
    available = float("inf")
    with contextlib.suppress(OSError, ValueError, KeyError), open("/proc/meminfo", encoding="ascii") as file:
        available = float(dict(line.split(":", 1) for line in file)["MemAvailable"].split()[0]) * 1024.0
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" if unlimited
        folder = pathlib.Path("/sys/fs/cgroup")
        limit, current = (float((folder / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        available = min(available, limit - current)
    return available
