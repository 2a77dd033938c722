"""Short measurements on this machine, at small size: what a training step and an evaluation cost."""

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
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import single_seed
from recsys_po_rl.experiment.config import ExperimentConfig
from recsys_po_rl.policies import catalogue as policies_lib
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training import loop

USER_STEPS = 100_000  # of a training step, as in the default experiment: a fraction of a second
MOST_USERS = 500  # of a batch
MOST_SLATES = 100  # for each user
USUAL_DOCS = 100  # with more documents there are fewer users
REPETITIONS = 5
LARGER = 4  # times the users, or slates, of a first measurement
# What makes a policy's search short; parameters of `experiment.policies`, as far as a constructor has them.
SHORT_SEARCH = {
    "num_iterations": 1,
    "rounds": ((2, 2),),
    "coefficients": (1.0,),
    "grid_points": 5,
    "num_particles": None,
}
SEARCH_USERS = ("num_log_users", "num_search_users", "users_per_iteration")


class Cost(NamedTuple):
    """What a kind of work costs."""

    first_seconds: float  # building, tracing, compiling
    seconds_per_user_step: float
    measured_user_steps: int = 0  # that are there at once
    program_bytes: float = 0.0  # that stay in memory, what so many user-steps need included
    kept_bytes_per_user_step: float = 0.0  # of each more
    building_bytes: float = 0.0  # that are there beside them while it is built


class PolicyCost(NamedTuple):
    """What a policy beside the learned one costs."""

    search_seconds: float  # of a short search, building included
    search_user_steps: int  # of a short search
    evaluation: Cost


class Sizes(NamedTuple):
    """What is measured."""

    users: int  # of a batch
    slates: int


def small_sizes(config: ExperimentConfig, users: int, scale: float, num_batches: int) -> Sizes:
    """Sizes at which something is measured: at most those of the plan.

    Args:
      config: of the experiment.
      users: of a batch, at full size.
      scale: share of the usual number of users that is enough, at most 1.
      num_batches: that are there at once.
    """
    slates = min(config.horizon, MOST_SLATES)
    most = min(MOST_USERS, USER_STEPS // (slates * num_batches)) * scale
    return Sizes(min(users, max(2, int(most))), slates)


def larger_sizes(config: ExperimentConfig, users: int, sizes: Sizes) -> Optional[Sizes]:
    """A second size, from which growth can be told; None if the first is the plan's.

    Args:
      config: of the experiment.
      users: of a batch, at full size.
      sizes: the first.
    """
    more = Sizes(min(users, LARGER * sizes.users), sizes.slates)
    if more.users == sizes.users:
        more = Sizes(sizes.users, min(config.horizon, LARGER * sizes.slates))
    return None if more == sizes else more


def of_training(config: ExperimentConfig, seed: int, world_seed: int, num_docs: int) -> Cost:
    """A training step.

    Args:
      config: of the experiment.
      seed: of the run.
      world_seed: of the corpus.
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
    study_of: Callable[[Sizes], single_seed.Study],
    build: Callable[[single_seed.Study], SimulationNetwork],
    sizes: Sizes,
    larger: Optional[Sizes] = None,
) -> Cost:
    """An evaluation.

    Args:
      study_of: makes a world of batches and a horizon of some sizes.
      build: makes the network in such a world.
      sizes: what is measured.
      larger: a second size, from which growth can be told, if there is one.
    """

    def at(sizes: Sizes) -> Cost:
        runtime: Any = None
        study = study_of(sizes)
        num_users = evaluator.BATCHES_AT_ONCE * study.batch_size

        def evaluate(number: int) -> None:
            nonlocal runtime
            runtime = runtime or study.runtime(build(study))
            path = ("calibration", number)
            evaluator.evaluate(runtime, study.horizon, num_users, study.batch_size, study.seed, path)

        return _cost(evaluate, num_users * study.horizon)

    return _with_growth(at, sizes, larger)


def _cost(work: Callable[[int], None], user_steps: int) -> Cost:
    """Measures work that is built when it is done first."""
    before, started = resident_bytes(), time.perf_counter()
    peak = peak_bytes(functools.partial(work, 0))
    first = time.perf_counter() - started
    # Memory settles in the first few repetitions: what is freed is not handed back at once.
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
    gc.collect()  # the second takes the place of the first
    more = at(larger)
    return cost._replace(
        seconds_per_user_step=more.seconds_per_user_step,
        kept_bytes_per_user_step=more.program_bytes / (more.measured_user_steps - cost.measured_user_steps),
    )


def of_policy(study: single_seed.Study, policy: Callable[..., Any]) -> Optional[PolicyCost]:
    """A policy beside the learned one, after a short search; None if it is left out in this world.

    Args:
      study: a world of small batches and a short horizon.
      policy: see `experiment.policies`.
    """
    given = config_lib.bound(policy)
    short = {name: value for name, value in SHORT_SEARCH.items() if name in given and value is not None}
    short.update({name: study.batch_size for name in SEARCH_USERS if name in given})
    before, started = settled_bytes(), time.perf_counter()
    try:
        made = policy(study, **short)
        seconds = time.perf_counter() - started
        build = functools.partial(_network_of, made)
        sizes = Sizes(study.batch_size, study.horizon)
        cost = of_evaluation(lambda _: study, build, sizes)
    except policies_lib.LeftOutError:
        return None
    cost = cost._replace(program_bytes=max(0.0, settled_bytes() - before))
    return PolicyCost(seconds, search_users({**given, **short}, study.config) * study.horizon, cost)


def _network_of(made: Any, study: single_seed.Study) -> SimulationNetwork:
    return made if isinstance(made, SimulationNetwork) else study.network(recommender_ctor=made)


def search_users(given: dict[str, Any], config: Any) -> int:
    """Users that a policy's constructor simulates.

    Args:
      given: its parameters, by name.
      config: the network's.
    """
    if "rounds" in given:
        return sum(num_slates * num_users for num_slates, num_users in given["rounds"])
    if "users_per_iteration" in given:
        return int(given["num_iterations"] * given["users_per_iteration"])
    tries = len(given["coefficients"]) if "coefficients" in given else int(config["num_topics"])
    return int(given.get("num_log_users", 0) + tries * given.get("num_search_users", 0))


# Memory.


def resident_bytes() -> float:
    """What this process has in memory now; 0 where the system does not tell."""
    return _status("VmRSS")


def settled_bytes() -> float:
    """What this process has in memory once it has handed back what it can: networks, but not what XLA compiled."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return resident_bytes()


def peak_bytes(action: Callable[[], None]) -> float:
    """How much more than before an action had in memory at once; 0 where the system does not tell."""
    before = settled_bytes()  # what was freed before must not hide what is needed now
    if not resets_peak():
        action()
        return 0.0
    action()
    return max(0.0, _status("VmHWM") - before)


def resets_peak() -> bool:
    """Has the system forget the most that this process ever had; False where it cannot."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        return False
    return True


def available_bytes() -> float:
    """What a new process could have; infinite where the system does not tell."""
    found = float("inf")
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        found = float(lines["MemAvailable"].split()[0]) * 1024.0
    with contextlib.suppress(OSError, ValueError):  # a container's limit; "max" where there is none
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as file:
            limit = float(file.read())
        with open("/sys/fs/cgroup/memory.current", encoding="ascii") as file:
            found = min(found, limit - float(file.read()))
    return found


def seconds_since_start() -> float:
    """How long ago this process began; 0 where the system does not tell."""
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
