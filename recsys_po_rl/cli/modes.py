"""Modes of the command line. Each imports its modules when it runs."""

from collections.abc import Callable
from typing import Any

from recsys_po_rl import gin_config
from recsys_po_rl.common import output


def train_and_evaluate(flags: Any) -> None:
    """Train, then compare the learned policy with others; with --dry_run, estimate memory and time.

    Args:
      flags: gin_files (none: config.gin of output_dir, whose run is resumed), gin_bindings (lists of text), output_dir
        (text or None), resume, dry_run, executor, ray_address, num_workers and training_workers.
    """
    from recsys_po_rl.experiment import config, executors, transfer
    from recsys_po_rl.experiment.dry_run import estimate
    from recsys_po_rl.experiment.run import experiment
    from recsys_po_rl.run_folder import layout

    if flags.gin_files:
        gin_config.parse(flags.gin_files, flags.gin_bindings)
    else:
        transfer.parse_config(flags.output_dir, flags.gin_bindings)
    if flags.dry_run:
        checked = config.validated(**config.bound(experiment))
        if flags.output_dir is not None:
            layout.free_path(flags.output_dir)
        output.deliver(estimate.text(checked))
        return
    given: dict[str, Any] = {} if flags.output_dir is None else {"output_dir": flags.output_dir}
    if flags.resume:
        given["resume"] = True
    if (flags.executor, flags.num_workers, flags.ray_address) != ("local", None, None):
        given["executor"] = executors.make(flags.executor, flags.num_workers, flags.ray_address)
    if flags.training_workers is not None:
        given["training_workers"] = flags.training_workers
    experiment(**given)


def evaluate(flags: Any) -> None:
    """Evaluate the learned policy of a run on other users, over another horizon or in another world.

    Args:
      flags: runs (one run folder); gin_files, gin_bindings (lists of text) and output_dir (text or None).
    """
    from recsys_po_rl.experiment.transfer import evaluate

    evaluate(flags.runs[0], flags.gin_files, flags.gin_bindings, flags.output_dir)


def pretrain(flags: Any) -> None:
    """Train the scorer of an experiment on logs.

    Args:
      flags: runs (paths of logs; none: that of gin), gin_files, gin_bindings (lists of text) and output_dir (text or
        None).
    """
    from recsys_po_rl.experiment.pretrain import pretrain

    gin_config.parse(flags.gin_files, flags.gin_bindings)
    given: dict[str, Any] = {} if flags.output_dir is None else {"output_dir": flags.output_dir}
    if flags.runs:
        given["log"] = flags.runs
    pretrain(**given)


def sweep(flags: Any) -> None:
    """Run trials of an experiment with other values of gin bindings.

    Args:
      flags: gin_files (none: those of the sweep in output_dir), gin_bindings (lists of text), output_dir (text or
        None), resume, executor, ray_address and num_workers.
    """
    from recsys_po_rl.experiment import executors, transfer
    from recsys_po_rl.experiment.sweep.run import sweep

    if flags.gin_files:
        gin_config.parse(flags.gin_files, flags.gin_bindings)
    else:
        transfer.parse_config(flags.output_dir, flags.gin_bindings)
    given: dict[str, Any] = {} if flags.output_dir is None else {"output_dir": flags.output_dir}
    if flags.resume:
        given["resume"] = True
    sweep(**given, executor=executors.make(flags.executor, flags.num_workers, flags.ray_address, fresh_processes=True))


def log(flags: Any) -> None:
    """Write a log of fresh users with policies of a run.

    Args:
      flags: runs (one run folder); users (int), policies, gin_files, gin_bindings (lists of text) and output_dir (text
        or None).
    """
    from recsys_po_rl.experiment.write_log import write_log

    write_log(flags.runs[0], flags.users, flags.policies, flags.gin_files, flags.gin_bindings, flags.output_dir)


def evaluate_offline(flags: Any) -> None:
    """Estimate the reward of a run's learned policy from a log.

    Args:
      flags: runs (one log); policy (a run folder), gin_files, gin_bindings (lists of text) and output_dir (text or
        None).
    """
    from recsys_po_rl.experiment.evaluate_offline import evaluate_offline

    evaluate_offline(flags.runs[0], flags.policy, flags.gin_files, flags.gin_bindings, flags.output_dir)


def population(flags: Any) -> None:
    """Evaluate policies of a run on very many users, in shards.

    Args:
      flags: runs (one run folder); users (int), policies, shards (pair or None), executor, ray_address, num_workers,
        gin_files, gin_bindings (lists of text) and output_dir (text or None).
    """
    from recsys_po_rl.experiment import executors
    from recsys_po_rl.experiment.population import evaluate_population

    evaluate_population(
        flags.runs[0],
        flags.users,
        flags.policies,
        flags.shards,
        gin_files=flags.gin_files,
        gin_bindings=flags.gin_bindings,
        output_dir=flags.output_dir,
        executor=executors.make(flags.executor, flags.num_workers, flags.ray_address),
    )


def merge(flags: Any) -> None:
    """Merge the shards of a population.

    Args:
      flags: runs (one folder of a population).
    """
    from recsys_po_rl.experiment import population

    population.merge(flags.runs[0])


def report(flags: Any) -> None:
    """Write report.html of run folders.

    Args:
      flags: runs (list of text).
    """
    from recsys_po_rl.reporting import pages as report_lib

    for folder in flags.runs:
        output.say(f"report: {report_lib.report(folder)}")


def compare(flags: Any) -> None:
    """Compare runs with the first of them.

    Args:
      flags: runs (list of text), output_dir (text or None), unpaired (bool).
    """
    from recsys_po_rl.experiment.compare import compare

    compare(flags.runs, flags.output_dir, flags.unpaired)


# By name; `parser.MODES` lists the same names with their flags.
MODES: dict[str, Callable[[Any], None]] = {
    "train_and_evaluate": train_and_evaluate,
    "evaluate": evaluate,
    "pretrain": pretrain,
    "sweep": sweep,
    "log": log,
    "evaluate_offline": evaluate_offline,
    "population": population,
    "merge": merge,
    "report": report,
    "compare": compare,
}
