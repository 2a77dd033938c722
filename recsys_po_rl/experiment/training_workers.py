"""Processes that compute the shards of one training, as actors of Ray.

Weights, optimizers and critic stay in the process that trains. A worker computes rollouts and gradients of shards as
functions of their arguments, and the terms of a gradient are added in the order of the shards: the weights do not
depend on the number of workers, or on workers that were lost.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf

from recsys_po_rl.common import output, validation
from recsys_po_rl.experiment import tasks
from recsys_po_rl.experiment.local_processes import raise_if_killed_too_often
from recsys_po_rl.experiment.tasks import Outcome, Packed, Task, TaskFailedError
from recsys_po_rl.simulation import seeding
from recsys_po_rl.training.replay import ReplayGradient
from recsys_po_rl.training.shards import Shard, ShardRollout, Weights, added


class Program(NamedTuple):
    """Packed task that returns the `ShardProgram` of a training; loaded by the workers that lack the program."""

    number: int
    load: Callable[[], Packed]


class Worker:
    """Process that computes shards, in an actor of Ray; keeps the program of the last training."""

    def __init__(self) -> None:
        """Configure TensorFlow, which must not have started in this process."""
        # One core each, as Ray counts: several workers fill a machine, and sums are not split by its number of cores.
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        self._bindings = contextlib.ExitStack()
        self._number: Optional[int] = None
        self._program: Any = None

    def ready(self) -> None:
        """Return once the process has started."""

    def call(self, program: Program, method: Optional[str], arguments: Sequence[Any]) -> Outcome:
        """Call a method of a program, which is built first if another one is in its place.

        Args:
          program: the program.
          method: name of a method of `ShardProgram`; None: the program is built, and nothing is called.
          arguments: arguments of the method.

        Returns:
          The outcome; a FloatingPointError is a result, since the training process raises it again.
        """
        return tasks.outcome_of(functools.partial(self._result, program, method, arguments))

    def _result(self, program: Program, method: Optional[str], arguments: Sequence[Any]) -> Any:
        if program.number != self._number:
            self._build(program)
        try:
            return None if method is None else getattr(self._program, method)(*arguments)
        except FloatingPointError as error:
            return error

    def _build(self, program: Program) -> None:
        self._number, self._program = None, None
        self._bindings.close()
        packed = program.load()
        differing = tasks.other_versions(packed)
        if differing:
            raise validation.InvalidInputError(differing)
        # Bindings stay: functions that gin has configured may be called at any later step.
        task = self._bindings.enter_context(tasks.unpacked(packed))
        self._program = task.function(*task.arguments)
        self._number = program.number


class _Started(NamedTuple):
    """Actor of a worker."""

    actor: Any
    ready: Any  # reference that is available once the process has started


class TrainingWorkers:
    """Workers of the trainings of an experiment, one training at a time.

    A worker that is lost is replaced by a new one. Until that has started, the other workers compute its shards.
    """

    def __init__(self, ray: Any, number: int) -> None:
        """Start the workers, and wait for them.

        Args:
          ray: the module, connected.
          number: number of workers, at least 1; each occupies one CPU of Ray.

        Raises:
          InvalidInputError: if Ray has fewer CPUs.
          TaskFailedError: if a worker does not start.
        """
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if number > cpus:
            raise validation.InvalidInputError(
                f"experiment.training_workers must be at most the number of CPUs of Ray, {cpus}, got {number}"
            )
        self._ray = ray
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(Worker)
        self._versions = itertools.count()
        self._kills = [0] * number  # in the current step
        self._workers = [self._started() for _ in range(number)]
        with self._errors_of_ray("a training worker"):
            ray.get([worker.ready for worker in self._workers])

    def _started(self) -> _Started:
        actor = self._actor.remote()
        return _Started(actor, actor.ready.remote())

    def shards(self, task: Task, variables: Sequence[tf.Variable]) -> "RemoteShards":
        """Prepare the workers for a training.

        Args:
          task: as in `prepared`.
          variables: variables of the learner, in the order of those of the `ShardProgram`.

        Raises:
          InvalidInputError, TaskFailedError: as `prepared`.
        """
        return RemoteShards(self, self.prepared(task), variables)

    def prepared(self, task: Task) -> Program:
        """Build a program in all workers.

        Args:
          task: its function returns the `ShardProgram`, in each worker.

        Raises:
          InvalidInputError: one line, if the task cannot be sent to another process, or a worker refuses it.
          TaskFailedError: if a worker cannot build the program.
        """
        try:
            packed = self._ray.put(tasks.pack(task))
        except tasks.NotSendableError as error:
            raise validation.InvalidInputError(f"experiment.training_workers: {error}") from error
        program = Program(next(self._versions), functools.partial(self._ray.get, packed))
        self.run(program, None, [(number, ()) for number in range(len(self._workers))])
        return program

    def weights(self, variables: Sequence[tf.Variable]) -> Weights:
        """Store the values of variables where workers can load them."""
        stored = self._ray.put([variable.numpy() for variable in variables])
        return Weights(next(self._versions), functools.partial(self._ray.get, stored))

    def begin_step(self) -> int:
        """Count the kills of a further training step; return its number, which no other step has."""
        self._kills = [0] * len(self._workers)
        return next(self._versions)

    def run(self, program: Program, method: Optional[str], calls: Sequence[tuple[int, Sequence[Any]]]) -> list[Any]:
        """Call a method of a program in the workers.

        Args:
          program: the program.
          method: name of the method, see `Worker.call`.
          calls: for each call the number of its shard, which chooses the worker, and the arguments.

        Returns:
          Results in the order of the calls.

        Raises:
          InvalidInputError, TaskFailedError: if a call fails, or a worker was killed too often in a step.
        """
        results: list[Any] = [None] * len(calls)
        running: dict[Any, tuple[int, _Started]] = {}

        def submit(position: int) -> None:
            number, arguments = calls[position]
            worker = self._worker_of(number)
            running[worker.actor.call.remote(program, method, arguments)] = position, worker

        for position in range(len(calls)):
            submit(position)
        while running:
            (ended,), _ = self._ray.wait(list(running), num_returns=1)
            position, worker = running.pop(ended)
            try:
                with self._errors_of_ray("a training worker"):
                    outcome = self._ray.get(ended)
            except lost(self._ray):
                self._replace(worker)
                submit(position)
                continue
            if outcome.trace:
                output.complain(outcome.trace)
            results[position] = tasks.result_of("training worker", outcome)
        return results

    def _worker_of(self, number: int) -> _Started:
        """Return the worker of a shard, or while that starts, the next one that has started."""
        first = number % len(self._workers)
        candidates = [*self._workers[first:], *self._workers[:first]]
        return next(
            (worker for worker in candidates if self._ray.wait([worker.ready], timeout=0)[0]),
            candidates[0],
        )

    def _replace(self, worker: _Started) -> None:
        """Start a new worker in the place of a lost one, unless that has happened."""
        if worker not in self._workers:
            return
        place = self._workers.index(worker)
        self._kills[place] += 1
        raise_if_killed_too_often(f"training worker {place + 1}", self._kills[place])
        self._ray.kill(worker.actor)  # which may live on a machine that does not answer
        self._workers[place] = self._started()

    @contextlib.contextmanager
    def _errors_of_ray(self, label: str) -> Any:
        try:
            yield
        except self._ray.exceptions.RayError as error:  # for instance, the project is not installed there
            if isinstance(error, lost(self._ray)):
                raise
            reason = " ".join(str(error).split())[-300:]
            raise TaskFailedError(f"{label} failed on Ray: {reason}") from error

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers:
            self._ray.kill(worker.actor)


class RemoteShards:
    """Shards of one training in `TrainingWorkers`; see `training.shards.ShardComputer`."""

    def __init__(self, workers: TrainingWorkers, program: Program, variables: Sequence[tf.Variable]) -> None:
        """Store the arguments, as of `TrainingWorkers.shards`."""
        self._workers = workers
        self._program = program
        self._variables = list(variables)
        self._shards: list[Shard] = []
        self._unchanged: Optional[Weights] = None  # the learner's weights, before the first update of a step

    def collect(self, keys: Sequence[seeding.Keys]) -> list[ShardRollout]:
        """Roll out the shards of a step; see `ShardComputer.collect`."""
        step, start = self._workers.begin_step(), self._workers.weights(self._variables)
        self._unchanged = start
        self._shards = [
            Shard(step, number, seeding.Keys(*map(np.asarray, of_shard)), start) for number, of_shard in enumerate(keys)
        ]
        results = self._workers.run(self._program, "collect", [(shard.number, (shard,)) for shard in self._shards])
        for result in results:
            if isinstance(result, FloatingPointError):
                raise result
        return results

    def gradient(
        self, numbers: Sequence[int], advantages: Sequence[tf.Tensor], entropy_bonus: tf.Tensor
    ) -> ReplayGradient:
        """Compute the gradient of an update; see `ShardComputer.gradient`."""
        weights = self._unchanged or self._workers.weights(self._variables)
        self._unchanged = None
        calls = [
            (number, (self._shards[number], weights, np.asarray(of_shard), float(entropy_bonus), len(numbers)))
            for number, of_shard in zip(numbers, advantages, strict=True)
        ]
        return added(self._workers.run(self._program, "gradient", calls))


def lost(ray: Any) -> tuple[type[Exception], ...]:
    """Return the errors of Ray after which the work of a process is done by another one."""
    errors = ray.exceptions
    return (
        errors.RayActorError,
        errors.WorkerCrashedError,
        errors.NodeDiedError,
        errors.OutOfMemoryError,
        errors.ObjectLostError,
    )
