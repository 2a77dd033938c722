"""Flags of the command line, and its entry point `main`.

Imports only the standard library until the flags are parsed. `recsys_po_rl_cli` loads this file without its package,
so `--help` and invalid flags are answered before TensorFlow is imported.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn

DEFAULT_GIN_FILE = "experiments/default.gin"
CONFIG = "config.gin"  # of a run folder
FAILED, BAD_INPUT = 1, 2


class Mode(NamedTuple):
    """Flags and help text of a mode; `modes.MODES` has its implementation."""

    text: str  # one line of --help
    takes_runs: tuple[int, float] = (0, 0)  # minimum and maximum number of run folders
    flags: tuple[str, ...] = ()  # accepted flags besides --mode
    operand: str = "run folder"


_CONFIGURED = ("gin_files", "gin_bindings", "output_dir")
_EXECUTED = ("executor", "ray_address", "num_workers")
MODES = {
    "train_and_evaluate": Mode(
        "train, then compare with other policies on fresh users (default)",
        flags=(*_CONFIGURED, "dry_run", "resume", *_EXECUTED, "training_workers"),
    ),
    "evaluate": Mode(
        "evaluate what a RUN has learned for other users, over another horizon or in another world; files and bindings"
        " come on top of the run's own",
        (1, 1),
        _CONFIGURED,
    ),
    "pretrain": Mode(
        "train the scorer of an experiment on logs, RUN being files of rows, CSV or Parquet; `experiment.pretrained ="
        " DIR` starts from the result",
        (0, float("inf")),
        _CONFIGURED,
    ),
    "sweep": Mode(
        "run trials of an experiment with other values of gin bindings, suggested by Optuna, and compare the best;"
        " RUN is a gin file that binds `recsys_po_rl.sweep`",
        (0, 1),
        (*_CONFIGURED, "resume", *_EXECUTED),
        operand="gin file",
    ),
    "log": Mode(
        "write a log of fresh users with the policies of a RUN, with propensities; files and bindings come on top of"
        " the run's own",
        (1, 1),
        (*_CONFIGURED, "users", "policies"),
    ),
    "evaluate_offline": Mode(
        "estimate the reward of what the run in --policy has learned from a log (in the place of RUN); files and"
        " bindings come on top of that run's own",
        (1, 1),
        (*_CONFIGURED, "policy"),
        operand="log",
    ),
    "population": Mode(
        "evaluate policies of a RUN on very many users, in numbered shards, which any machine can compute in any order;"
        " files and bindings come on top of the run's own",
        (1, 1),
        (*_CONFIGURED, "users", "policies", "shards", *_EXECUTED),
    ),
    "merge": Mode("merge the shards of a population, in the place of RUN its folder", (1, 1), operand="folder"),
    "report": Mode("make the page report.html of run folders from their files", (1, float("inf"))),
    "compare": Mode(
        "compare runs with the first of them, on the same users where their worlds are equal",
        (2, float("inf")),
        ("output_dir", "unpaired"),
    ),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line without the usage, which --help shows, and exit with status 2."""
        _complain(f"{self.prog}: error: {message} (--help lists what there is)")
        sys.exit(BAD_INPUT)

    def print_help(self, file: Any = None) -> None:
        """Print the help; exit with status 1 if standard output cannot be written."""
        try:
            print(self.format_help(), file=file or sys.stdout, end="", flush=True)
        except BrokenPipeError:  # the reader has seen enough
            pass
        except OSError as error:
            _complain(f"{self.prog}: error: standard output cannot be written: {error.strerror}")
            sys.exit(FAILED)


def _complain(line: str) -> None:
    with contextlib.suppress(OSError):  # then the exit status alone tells
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _usable_streams() -> Iterator[None]:
    """Prevent failures of standard streams, in the block and at interpreter exit.

    A closed stream is redirected to the null device. Otherwise the next opened file would get its descriptor, and with
    it the output of libraries. Buffered output that cannot be written is dropped at the end.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (open for good)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with contextlib.suppress(OSError, ValueError):  # no stream of the system's
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser of all modes' flags.

    Args:
      program: name of the program in usage and messages.
    """
    parser = _Parser(
        prog=program,
        description="Trains a recommender in a partially observable world and compares it with other policies.",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(
            [
                "modes:",
                *(f"  {name:<20}{mode.text}" for name, mode in MODES.items()),
                "",
                "examples:",
                f"  {program}",
                f"  {program} --gin_files experiments/k2.gin --gin_bindings 'recsys_po_rl.experiment.seeds = [1]'",
                f"  {program} --mode evaluate RUN --gin_bindings 'recsys_po_rl.experiment.horizon = 200'",
            ]
        ),
    )
    parser.add_argument("runs", nargs="*", metavar="RUN", help="run folder, for the modes that read one")
    parser.add_argument("--mode", choices=list(MODES), default=next(iter(MODES)), help="what to do; see below")
    parser.add_argument(
        "--gin_files",
        action="append",
        metavar="FILE",
        help=f"gin file, here or among the shipped ones; repeatable, later files win (default: {DEFAULT_GIN_FILE})",
    )
    parser.add_argument(
        "--gin_bindings",
        action="append",
        metavar="BINDING",
        help="gin binding such as 'recsys_po_rl.experiment.horizon = 50'; repeatable, after all files",
    )
    parser.add_argument(
        "--output_dir", metavar="DIR", help="where files go, new or empty (default: a time-stamped folder under runs/)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the run in --output_dir, with its own configuration unless --gin_files are given",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="say what it would take (memory, time, files), and do nothing"
    )
    parser.add_argument(
        "--unpaired", action="store_true", help="compare runs as independent samples, whatever their worlds and users"
    )
    parser.add_argument("--users", type=int, metavar="N", help="number of users of a log or population, at least 1")
    parser.add_argument("--policy", metavar="RUN", help="run folder of the policy that a log is used to evaluate")
    parser.add_argument(
        "--policies",
        action="append",
        metavar="NAME",
        help="policy of a log or population, as in the run's table; repeatable; in a log, users are split evenly "
        "(default: learned)",
    )
    parser.add_argument(
        "--shards", type=_shards, metavar="FIRST:END", help="shards of a population to compute, END excluded (all)"
    )
    parser.add_argument(
        "--executor", choices=("local", "ray"), default="local", help="where parts run: processes here, or Ray (local)"
    )
    parser.add_argument(
        "--ray_address", metavar="ADDRESS", help="host:port of a running Ray, or auto (default: one for this run)"
    )
    parser.add_argument("--num_workers", type=int, metavar="N", help="parts that run at once (default: all cores)")
    parser.add_argument(
        "--training_workers",
        type=int,
        metavar="N",
        help="processes of Ray that compute the shards of each training step (default: none, this process computes)",
    )
    return parser


def _shards(text: str) -> tuple[int, int]:
    first, colon, end = text.partition(":")
    if not colon or not first.isdecimal() or not end.isdecimal():
        raise argparse.ArgumentTypeError(f"must be FIRST:END, such as 0:1000, got {text!r}")
    return int(first), int(end)


def parse_flags(arguments: Sequence[str], program: str = "run_simulation.py") -> argparse.Namespace:
    """Parse and validate the command line.

    Args:
      arguments: command-line arguments without the program's name.
      program: name of the program in usage and messages.

    Returns:
      Namespace of mode, runs, gin_files, gin_bindings, output_dir, resume, dry_run, unpaired, users, policies,
      policy, shards, executor, ray_address, num_workers and training_workers; flags that the mode does not accept
      have their defaults.

    Raises:
      SystemExit: after --help (status 0), or for invalid flags (status 2, one line on standard error).
    """
    parser = make_parser(program)
    flags = parser.parse_intermixed_args(list(arguments))
    mode = MODES[flags.mode]
    least, most = mode.takes_runs
    if not least <= len(flags.runs) <= most:
        allowed = f"no {mode.operand}" if not most else f"{least} {mode.operand}{'s' if least > 1 else ''}"
        if (least, most) == (0, 1):
            allowed = f"at most 1 {mode.operand}"
        or_more = " or more" if most > max(1, least) else ""
        parser.error(f"--mode {flags.mode} takes {allowed}{or_more}, got {' '.join(flags.runs) or 'none'}")
    for name in vars(flags):
        if name not in ("mode", "runs", *mode.flags) and flags.__dict__[name] != parser.get_default(name):
            parser.error(f"--mode {flags.mode} takes no --{name}")
    if "users" in mode.flags and (flags.users is None or flags.users < 1):
        given = "none" if flags.users is None else flags.users
        parser.error(f"--mode {flags.mode} needs --users, an integer of at least 1, got {given}")
    if flags.mode == "evaluate_offline" and flags.policy is None:
        parser.error("--mode evaluate_offline needs --policy, the run folder of the policy to evaluate")
    if flags.num_workers is not None and flags.num_workers < 1:
        parser.error(f"--num_workers must be an integer of at least 1, got {flags.num_workers}")
    if flags.training_workers is not None and flags.training_workers < 1:
        parser.error(f"--training_workers must be an integer of at least 1, got {flags.training_workers}")
    if flags.training_workers is not None and flags.executor != "ray":
        parser.error(f"--training_workers needs --executor ray, got {flags.executor}")
    if flags.resume and flags.dry_run:
        parser.error("--resume and --dry_run exclude each other")
    if flags.resume and not flags.output_dir:
        parser.error("--resume needs --output_dir, the folder of the run to resume")
    if flags.mode == "sweep":
        flags.gin_files = [*flags.runs, *(flags.gin_files or [])]
        if not flags.gin_files and not (flags.resume and os.path.isfile(os.path.join(flags.output_dir, CONFIG))):
            parser.error("--mode sweep needs a gin file that binds recsys_po_rl.sweep, or --resume a folder of a sweep")
    if not most and not flags.gin_files:
        own = os.path.join(flags.output_dir or "", CONFIG)
        has_own = flags.resume and os.path.isfile(own)
        flags.gin_files = [] if has_own else [DEFAULT_GIN_FILE]
        if flags.resume and not has_own:
            _complain(f"there is no {own}: it is a run of {DEFAULT_GIN_FILE} that begins there")
    if flags.mode == "pretrain" and not flags.gin_files:
        flags.gin_files = [DEFAULT_GIN_FILE]
    flags.gin_files = flags.gin_files or []
    flags.gin_bindings = flags.gin_bindings or []
    flags.policies = flags.policies or ["learned"]
    return flags


def main(arguments: Sequence[str], program: str) -> int:
    """Parse the flags, then import the package and run the chosen mode.

    Args:
      arguments: command-line arguments without the program's name.
      program: name of the program in usage and messages.

    Returns:
      Exit status, as `commands.run` returns it.

    Raises:
      SystemExit: as `parse_flags` does.
    """
    with _usable_streams():
        flags = parse_flags(arguments, program)
        from recsys_po_rl.cli import commands  # imports TensorFlow

        return commands.run(flags)
