"""Executors: where the tasks of an experiment, an evaluation of many users or a sweep run.

`LocalExecutor` (default) starts processes on this machine, `RayExecutor` tasks of Ray on one machine or a cluster. A
task's result does not depend on the executor, on the number of workers, or on tasks that were killed and started again.
"""

from collections.abc import Sequence
from typing import Any, Optional, Protocol

from recsys_po_rl.common import validation
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.experiment.tasks import Task

NAMES = ("local", "ray")


class Executor(Protocol):
    """Executor of tasks."""

    def run(self, given: Sequence[Task], quiet: bool = False) -> list[Any]:
        """Run tasks, some of them at once.

        A task whose process is killed is started again, with its `arguments_after_kill`.

        Args:
          given: the tasks.
          quiet: whether to print nothing but warnings.

        Returns:
          Results in the order of the tasks.

        Raises:
          InvalidInputError: one line, if a task reports one, as for a full disk, or the executor cannot start.
          tasks.TaskFailedError: if a task failed; the other tasks are stopped after their training step.
          KeyboardInterrupt: after interrupting all tasks.
        """


def make(
    name: str = "local",
    num_processes: Optional[int] = None,
    ray_address: Optional[str] = None,
    fresh_processes: bool = False,
) -> Executor:
    """Make an executor by name.

    Args:
      name: local or ray.
      num_processes: tasks that run at once; None: the number of cores.
      ray_address: address of a running Ray, "auto" for that of this machine; None: a Ray of this machine, which ends
        with the executor.
      fresh_processes: whether each task has a process of its own, even if one runs at a time; on Ray it always has.

    Raises:
      InvalidInputError: one line, if the name is unknown, or Ray is not installed or does not answer.
    """
    validation.one_of("executor", name, NAMES)
    if name == "local":
        if ray_address is not None:
            raise validation.InvalidInputError("ray_address needs the executor ray, got local")
        return LocalExecutor(num_processes, fresh_processes)
    from recsys_po_rl.experiment.ray_executor import RayExecutor  # Ray is needed here only

    return RayExecutor(ray_address, num_processes)
