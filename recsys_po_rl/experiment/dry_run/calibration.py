"""Calibration: short measurements of the cost of training steps and evaluations on this machine, at small size."""

import contextlib
import ctypes
import dataclasses
import functools
import gc
import os
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Optional

from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.policies.base import LeftOutError, Policy, PolicyContext
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import loop

USER_STEPS = 100_000  # user-steps of a measured training step: a fraction of a second in the default experiment
MOST_USERS = 500  # largest batch that is measured
MOST_SLATES = 100  # largest number of slates per user that is measured
USUAL_DOCS = 100  # with more documents, fewer users are measured
REPETITIONS = 5
LARGER = 4  # ratio of the users, or slates, of the second measurement to the first
# Arguments that shorten a policy's search, of the policies that have them.
SHORT_SEARCH = {
    "num_iterations": 1,
    "rounds": ((2, 2),),
    "coefficients": (1.0,),
    "grid_points": 5,
}
SEARCH_USERS = ("num_log_users", "num_search_users", "users_per_iteration")


class Cost(NamedTuple):
    """Measured cost of a training step or an evaluation."""

    first_seconds: float  # building, tracing, compiling
    seconds_per_user_step: float
    measured_user_steps: int = 0  # user-steps that are in memory at once
    program_bytes: float = 0.0  # bytes that stay in memory, including those of the measured user-steps
    kept_bytes_per_user_step: float = 0.0  # bytes of each further user-step
    building_bytes: float = 0.0  # additional bytes while the program is built


class PolicyCost(NamedTuple):
    """Measured cost of a policy that is compared with the learned one."""

    search_seconds: float  # seconds of a short search, building included
    search_user_steps: int  # user-steps of the short search
    evaluation: Cost


class Sizes(NamedTuple):
    """Size of a measurement."""

    users: int  # in a batch
    slates: int  # shown to each user


def small_sizes(config: ExperimentConfig, users: int, scale: float, num_batches: int) -> Sizes:
    """Return the sizes of a measurement, at most those of the experiment.

    Args:
      config: configuration of the experiment.
      users: users of a batch, at full size.
      scale: factor of the usual number of users, at most 1.
      num_batches: batches that are in memory at once.
    """
    slates = min(config.horizon, MOST_SLATES)
    most = min(MOST_USERS, USER_STEPS // (slates * num_batches)) * scale
    return Sizes(min(users, max(2, int(most))), slates)


def larger_sizes(config: ExperimentConfig, users: int, sizes: Sizes) -> Optional[Sizes]:
    """Return larger sizes, from which growth is estimated; None if `sizes` are those of the experiment.

    Args:
      config: configuration of the experiment.
      users: users of a batch, at full size.
      sizes: sizes of the first measurement.
    """
    more = Sizes(min(users, LARGER * sizes.users), sizes.slates)
    if more.users == sizes.users:
        more = Sizes(sizes.users, min(config.horizon, LARGER * sizes.slates))
    return None if more == sizes else more


def of_training(config: ExperimentConfig, seed: int, world_seed: int, num_docs: int) -> Cost:
    """Measure a training step.

    Args:
      config: configuration of the experiment.
      seed: seed of the run.
      world_seed: seed of the corpus.
      num_docs: D.
    """
    users = config.users_per_step // config.num_shards
    sizes = small_sizes(config, users, min(1.0, USUAL_DOCS / num_docs), config.num_shards)

    def at(sizes: Sizes) -> Cost:
        learner: Any = None
        small = dataclasses.replace(
            config, horizon=sizes.slates, users_per_step=sizes.users * config.num_shards, resume=False
        )

        def step(number: int) -> None:
            nonlocal learner
            learner = learner or single_seed.prepare(small, seed, world_seed).learner
            result = learner.step(loop.keys_of_step(seed, 1 + number, config.num_shards, "calibration"), 0.0)
            float(result.mean_reward)

        return _cost(step, config.num_shards * sizes.users * sizes.slates)

    return _with_growth(at, sizes, larger_sizes(config, users, sizes))


def of_evaluation(
    context_of: Callable[[Sizes], PolicyContext],
    build: Callable[[PolicyContext], SimulationNetwork],
    sizes: Sizes,
    larger: Optional[Sizes] = None,
) -> Cost:
    """Measure an evaluation.

    Args:
      context_of: returns a world with the batch size and horizon of given sizes.
      build: builds the network in such a world.
      sizes: sizes of the measurement.
      larger: larger sizes, from which growth is estimated; None: growth is not measured.
    """

    def at(sizes: Sizes) -> Cost:
        runtime: Any = None
        context = context_of(sizes)
        num_users = evaluator.BATCHES_AT_ONCE * context.batch_size

        def evaluate(number: int) -> None:
            nonlocal runtime
            runtime = runtime or context.runtime(build(context))
            path = ("calibration", number)
            evaluator.evaluate(runtime, context.horizon, num_users, context.batch_size, context.seed, path)

        return _cost(evaluate, num_users * context.horizon)

    return _with_growth(at, sizes, larger)


def _cost(work: Callable[[int], None], user_steps: int) -> Cost:
    """Measure work whose first call builds the program."""
    before, started = resident_bytes(), time.perf_counter()
    peak = peak_bytes(functools.partial(work, 0))
    first = time.perf_counter() - started
    # Resident memory settles within a few repetitions: freed memory is not returned to the system at once.
    seconds = statistics.median(_seconds(functools.partial(work, 1 + i)) for i in range(REPETITIONS))
    program = max(0.0, resident_bytes() - before)
    return Cost(
        first_seconds=max(0.0, first - seconds),
        seconds_per_user_step=seconds / user_steps,
        measured_user_steps=user_steps,
        program_bytes=program,
        building_bytes=max(0.0, peak - program),
    )


def _with_growth(at: Callable[[Sizes], Cost], sizes: Sizes, larger: Optional[Sizes]) -> Cost:
    cost = at(sizes)
    if larger is None:
        return cost
    gc.collect()  # the second measurement reuses the memory of the first
    more = at(larger)
    return cost._replace(
        seconds_per_user_step=more.seconds_per_user_step,
        kept_bytes_per_user_step=more.program_bytes / (more.measured_user_steps - cost.measured_user_steps),
    )


def of_policy(context: PolicyContext, policy: Policy) -> Optional[PolicyCost]:
    """Measure a policy that is compared with the learned one, after a short search.

    Args:
      context: a world of small batches and a short horizon.
      policy: the policy.

    Returns:
      The cost; None if the policy is left out in this world.
    """
    given = policy.arguments
    short = {name: value for name, value in SHORT_SEARCH.items() if name in given}
    short.update({name: context.batch_size for name in SEARCH_USERS if name in given})
    shortened = policy.replaced(**short) if short else policy
    before, started = settled_bytes(), time.perf_counter()
    try:
        built = shortened.build(context)
        seconds = time.perf_counter() - started
        sizes = Sizes(context.batch_size, context.horizon)
        cost = of_evaluation(lambda _: context, lambda _: built.network, sizes)
    except LeftOutError:
        return None
    cost = cost._replace(program_bytes=max(0.0, settled_bytes() - before))
    return PolicyCost(seconds, shortened.search_cost(context).user_steps, cost)


# Memory.


def resident_bytes() -> float:
    """Return the resident memory of this process; 0 if the system does not provide it."""
    return _status("VmRSS")


def settled_bytes() -> float:
    """Return the resident memory after releasing unused memory: networks, but not XLA's programs."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def peak_bytes(action: Callable[[], None]) -> float:
    """Run an action and return its peak memory above the memory before; 0 if the system does not provide it."""
    before = settled_bytes()  # memory freed earlier must not hide the memory that the action needs
    if not resets_peak():
        action()
        return 0.0
    action()
    return max(0.0, _status("VmHWM") - before)


def resets_peak() -> bool:
    """Reset the system's record of this process's peak memory; return False if that is not supported."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def available_bytes() -> float:
    """Return the memory available to a new process; infinite if the system does not provide it."""
    found = float("inf")
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        found = float(lines["MemAvailable"].split()[0]) * 1024.0
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" if unlimited
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = float(file.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            found = min(found, limit - float(file.read()))
    return found


def seconds_since_start() -> float:
    """Return the seconds since this process started; 0 if the system does not provide them."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/stat", encoding="ascii") as file:
            ticks = float(file.read().rsplit(")", 1)[1].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return 0.0


def _status(name: str) -> float:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(float(line.split()[1]) for line in file if line.startswith(f"{name}:")) * 1024.0
    except (OSError, StopIteration):
        return 0.0


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
