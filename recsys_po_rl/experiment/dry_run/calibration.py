"""Calibration: short measurements of a training step and an evaluation on this machine."""

import contextlib
import dataclasses
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

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


def of_training(config: ExperimentConfig, seed: int, world_seed: int, num_docs: int) -> Cost:
    """Measure training steps of two sizes.

    Args:
      config: configuration of the experiment.
      seed: seed of the run.
      world_seed: seed of the corpus.
      num_docs: D.
    """

    def step_of(num_users: int) -> Callable[[int], Any]:
        small = dataclasses.replace(config, users_per_step=num_users * config.num_shards, resume=False)
        learner = single_seed.prepare(small, seed, world_seed).learner
        keys = [loop.keys_of_step(seed, number, config.num_shards, "calibration") for number in range(REPETITIONS + 1)]
        return lambda number: tf.nest.map_structure(float, learner.step(keys[number], 0.0)._asdict())

    return _cost(step_of, config.users_per_step // config.num_shards, num_docs, config.num_shards * config.horizon)


def of_evaluation(context_of: Callable[[int], PolicyContext], batch_size: int, num_docs: int) -> Cost:
    """Measure evaluations of two sizes.

    Args:
      context_of: returns the world with a batch size.
      batch_size: batch size of the experiment.
      num_docs: D.
    """

    def evaluation_of(num_users: int) -> Callable[[int], Any]:
        context = context_of(num_users)
        runtime = context.runtime(context.network())
        total = evaluator.BATCHES_AT_ONCE * num_users
        return lambda number: evaluator.evaluate(
            runtime, context.horizon, total, num_users, context.seed, ("calibration", number)
        )

    return _cost(evaluation_of, batch_size, num_docs, evaluator.BATCHES_AT_ONCE * context_of(1).horizon)


def _cost(work_of: Callable[[int], Callable[[int], Any]], num_users: int, num_docs: int, steps: int) -> Cost:
    """Measure work of two sizes, at most those of the experiment.

    Args:
      work_of: builds work for a number of users, which is called with the number of its repetition.
      num_users: users of a batch in the experiment.
      num_docs: D.
      steps: user-steps of the work for each user of a batch.
    """
    large = min(num_users, max(2, LARGE * USUAL_DOCS // max(USUAL_DOCS, num_docs)))
    small = max(1, min(SMALL, large // 2))
    started, before = time.perf_counter(), resident_bytes()
    work_of(small)(0)
    first, program = time.perf_counter() - started, max(0.0, resident_bytes() - before)
    before, work = resident_bytes(), work_of(large)
    work(0)
    grown = max(0.0, resident_bytes() - before - program)
    seconds = statistics.median(_seconds(work, 1 + repetition) for repetition in range(REPETITIONS))
    return Cost(first, seconds / (large * steps), program, grown / (large * steps))


def _seconds(work: Callable[[int], Any], number: int) -> float:
    started = time.perf_counter()
    work(number)
    return time.perf_counter() - started


def resident_bytes() -> float:
    """Return the resident memory of this process; 0 if the system does not provide it."""
    with contextlib.suppress(OSError, ValueError, IndexError), open("/proc/self/statm", encoding="ascii") as file:
        return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0.0


def available_bytes() -> float:
    """Return the memory available to a new process; infinite if the system does not provide it."""
    found = float("inf")
    with contextlib.suppress(OSError, ValueError, KeyError), open("/proc/meminfo", encoding="ascii") as file:
        found = float(dict(line.split(":", 1) for line in file)["MemAvailable"].split()[0]) * 1024.0
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" if unlimited
        folder = pathlib.Path("/sys/fs/cgroup")
        limit, current = (float((folder / f"memory.{name}").read_text(encoding="ascii")) for name in ("max", "current"))
        found = min(found, limit - current)
    return found
