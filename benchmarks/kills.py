"""Kills runs with SIGKILL at many moments, resumes each, and compares with the run that nobody touched.

    python benchmarks/kills.py [--moments 100] [--real_moments 100] [--output benchmarks/results/KILLS.md]

Two kinds of moments: a point of the run's own processor time, drawn evenly over an uninterrupted run; and a point
within a write, after the first half of its bytes, or before the file system is asked to rename, remove or sync. Most
runs have a learner that is cheap (`tests/support/toy_run.py`), some are the real experiment with a few users. Every
run is a process of its own, forked from one that has imported the package and used nothing of it.
"""

import argparse
import collections
import importlib.util
import json
import mmap
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any, NamedTuple, Optional

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
SEED = 3  # of the runs
POLL_SECONDS = 0.0002

PHASES = ("start", "training", "evaluation", "report", "end")


class Moment(NamedTuple):
    """When a run is killed."""

    victim: str  # toy or real
    share: Optional[float] = None  # of the processor time of an uninterrupted run
    write: Optional[int] = None  # number of the write, from 1


class Blackboard:
    """Shared with a forked process: its phase, whether it is within a write, and writes so far."""

    def __init__(self) -> None:
        """Empty."""
        self._memory = mmap.mmap(-1, 16)

    def put(self, phase: Optional[int] = None, writing: Optional[int] = None) -> None:
        """Notes what is given."""
        if phase is not None:
            self._memory[0] = phase
        if writing is not None:
            self._memory[1] = writing

    def count(self) -> int:
        """Counts a write; returns its number."""
        number = int.from_bytes(self._memory[8:16], "little") + 1
        self._memory[8:16] = number.to_bytes(8, "little")
        return number

    @property
    def writes(self) -> int:
        """So far."""
        return int.from_bytes(self._memory[8:16], "little")

    @property
    def phase(self) -> str:
        """In words."""
        return PHASES[self._memory[0]] + (", in a write" if self._memory[1] else "")


def toy() -> Any:
    """The module with the cheap learner."""
    path = ROOT / "tests" / "support" / "toy_run.py"
    spec = importlib.util.spec_from_file_location("toy_run", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def real_arguments() -> dict[str, Any]:
    """The experiment itself with a few users."""
    import functools

    from recsys_po_rl.policies.uniform_random import UniformRandom
    from recsys_po_rl.simulation.runtime import SeededRuntime
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

    return {
        "num_training_steps": 5, "horizon": 2, "users_per_step": 2, "num_shards": 1, "num_evaluation_users": 2,
        "evaluation_batch_size": 2, "num_validation_users": 2, "validate_every_steps": 2, "checkpoint_every_steps": 2,
        "policies": [UniformRandom], "runtime_ctor": functools.partial(SeededRuntime, mode="eager"),
        "network_ctor": functools.partial(
            create_interest_evolution_simulation_network, num_docs=5, history_length=3, slate_size=1
        ),
    }  # fmt: skip


def watch(board: Blackboard, dies_in: Optional[int]) -> None:
    """Has this process note its phase and its writes, and kill itself within a given one."""
    from recsys_po_rl.experiment import run, single_seed
    from recsys_po_rl.run_folder import csv_tables, layout

    def within(function: Any, phase: Optional[int] = None, halve: Any = None) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if phase is not None:
                board.put(phase)
                return function(*arguments, **options)
            board.put(writing=1)
            if board.count() == dies_in:
                if halve is not None:
                    halve(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*arguments, **options)
            board.put(writing=0)
            return result

        return call

    def half_a_line(logger: Any, cells: list[str]) -> None:
        line = ",".join(cells).encode()
        os.write(logger._file.fileno(), line[: len(line) // 2])

    def half_a_file(folder: layout.Folder, name: str, content: bytes) -> None:
        with layout.opened(folder) as directory:
            file = os.open(f".{name}.abcdefgh", os.O_WRONLY | os.O_CREAT, 0o666, dir_fd=directory)
            os.write(file, content[: len(content) // 2])

    single_seed.train = within(single_seed.train, PHASES.index("training"))
    single_seed.evaluate_policies = within(single_seed.evaluate_policies, PHASES.index("evaluation"))
    run._merged = within(run._merged, PHASES.index("report"))
    csv_tables.CsvLogger._write_line = within(csv_tables.CsvLogger._write_line, halve=half_a_line)
    layout.write_bytes = within(layout.write_bytes, halve=half_a_file)
    for owner, name in (
        (os, "replace"), (os, "unlink"), (os, "truncate"), (os, "fsync"), (shutil, "rmtree"),
    ):  # fmt: skip
        setattr(owner, name, within(getattr(owner, name)))


def run_in_child(
    victim: str, folder: str, board: Blackboard, resume: bool = False, dies_in: Optional[int] = None,
    whole: Optional[str] = None, log: Optional[str] = None,
) -> int:  # fmt: skip
    """Forks a run; returns the process's id. With `whole` its status is 0 only if both folders hold the same."""
    board.put(0, 0)
    board._memory[8:16] = bytes(8)
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        descriptor = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        from recsys_po_rl.experiment import experiment, run

        module = toy()
        arguments = module.TOY if victim == "toy" else real_arguments()
        if victim == "toy":
            module.make_evaluations_cheap(setattr)
            run._show = lambda plan, result: None
        watch(board, dies_in)
        experiment(seeds=[SEED], output_dir=folder, resume=resume, **{**arguments, "quiet": False})
        board.put(PHASES.index("end"))
        status = 0
        if whole is not None:
            contents, expected = module.contents(folder), module.contents(whole)
            different = sorted(
                {*contents, *expected} - {name for name in contents if contents[name] == expected.get(name)}
            )
            print("different:", ", ".join(different))
            status = 3 if different else 0
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def processor_seconds(process: int) -> float:
    """Of a process so far, all its threads, as the scheduler counts it."""
    total = 0
    for thread in pathlib.Path(f"/proc/{process}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_text().split()[0])
        except (OSError, IndexError):
            continue
    return total * 1e-9


def uninterrupted(victim: str, folder: str) -> tuple[float, int]:
    """Runs to the end; returns processor seconds and writes."""
    board = Blackboard()
    child = run_in_child(victim, folder, board, log=f"{folder}.log")
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(pathlib.Path(f"{folder}.log").read_text())
    return usage.ru_utime + usage.ru_stime, board.writes


def kill(moment: Moment, folder: str, seconds: float) -> Optional[str]:
    """Runs until the moment; returns the phase in which it was killed, None if it came to its end before."""
    board = Blackboard()
    child = run_in_child(moment.victim, folder, board, dies_in=moment.write)
    if moment.share is not None:
        while processor_seconds(child) < moment.share * seconds:
            ended, _ = os.waitpid(child, os.WNOHANG)
            if ended:
                return None
            time.sleep(POLL_SECONDS)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return board.phase if os.WIFSIGNALED(status) else None


def resumed(moment: Moment, folder: str, whole: str) -> tuple[str, str]:
    """Goes on to the end; returns where it began, and whether what it gave is the same."""
    log = f"{folder}.log"
    child = run_in_child(moment.victim, folder, Blackboard(), resume=True, whole=whole, log=log)
    _, status = os.waitpid(child, 0)
    text = pathlib.Path(log).read_text()
    began = next((line for line in text.splitlines() if "resumed from step" in line), "")
    if not began:
        began = "finished before" if "is finished" in text else "step 0"
    code = os.waitstatus_to_exitcode(status)
    outcome = "equal"
    if code:
        last = text.strip().splitlines()[-1] if text.strip() else ""
        outcome = f"NOT EQUAL: {last}" if code == 3 else f"FAILED ({code}): {last}"
    return began.replace("resumed from ", ""), outcome


def draw(victim: str, number: int, writes: int, generator: random.Random) -> list[Moment]:
    """Half of the moments over processor time, half over writes, each kind spread evenly."""
    timed = number - number // 2
    moments = [Moment(victim, share=(i + generator.random()) / timed) for i in range(timed)]
    within = number // 2
    strata = [(1 + i * writes / within, 1 + (i + 1) * writes / within) for i in range(within)]
    return moments + [Moment(victim, write=int(generator.uniform(*bounds))) for bounds in strata]


def report(rows: list[tuple[Moment, str, str, str]], missed: int, writes: dict[str, int]) -> str:
    """The page."""
    good = sum(outcome == "equal" for *_, outcome in rows)
    lines = [
        "# Kills survived",
        "",
        "Made by `benchmarks/kills.py`. Each run was killed with SIGKILL at one moment and resumed; then the list of",
        "files, `metrics.csv`, `validation.csv`, all tensors of the checkpoints (weights, optimizers, critic, best",
        "weights), `config.gin` and `evaluation.json` were compared, bit for bit, with those of a run left alone.",
        "Columns in `_seconds` and `_per_second` do not count.",
        "",
        f"**{good} of {len(rows)} resumed runs were equal.**"
        + (f" {missed} more moments came after the run's end, and were drawn again." if missed else ""),
        "",
        "- *toy*: the real run folder, checkpoints and resuming, around a learner, an evaluation and a report that are",
        f"  cheap. An uninterrupted run makes {writes.get('toy', 0)} writes (lines, files, renames, removals, syncs).",
        f"- *real*: the experiment itself, eagerly, with two users; {writes.get('real', 0)} writes.",
        "",
        "A share is one of the processor time of an uninterrupted run. In a write means: after half of its bytes, or",
        "just before a rename, a removal or a sync. A run killed before its first checkpoint begins at step 0.",
        "",
        "| phase | kills | equal afterwards |",
        "|---|---|---|",
    ]
    by_phase: dict[str, list[bool]] = collections.defaultdict(list)
    for _, phase, _, outcome in rows:
        by_phase[phase].append(outcome == "equal")
    order = sorted(by_phase, key=lambda phase: (PHASES.index(phase.split(",")[0]), phase))
    lines += [f"| {phase} | {len(by_phase[phase])} | {sum(by_phase[phase])} |" for phase in order]
    lines += ["", "| victim | moment | phase | resumed from | outcome |", "|---|---|---|---|---|"]
    for moment, phase, began, outcome in rows:
        when = f"write {moment.write}" if moment.write else f"{moment.share:.1%} of the time"
        lines.append(f"| {moment.victim} | {when} | {phase} | {began} | {outcome} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Kills, resumes, compares, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=100, help="kills of the cheap run")
    parser.add_argument("--real_moments", type=int, default=100, help="kills of the real experiment")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--output", default=str(ROOT / "benchmarks" / "results" / "KILLS.md"))
    flags = parser.parse_args()
    import recsys_po_rl.experiment  # noqa: F401  (once for all that are forked; uses no TensorFlow operation)

    generator = random.Random(flags.seed)
    rows: list[tuple[Moment, str, str, str]] = []
    writes, missed = {}, 0
    with tempfile.TemporaryDirectory() as scratch:
        for victim, number in (("toy", flags.moments), ("real", flags.real_moments)):
            if not number:
                continue
            whole = os.path.join(scratch, f"whole_{victim}")
            seconds, writes[victim] = uninterrupted(victim, whole)
            print(json.dumps({"victim": victim, "processor_seconds": seconds, "writes": writes[victim]}), flush=True)
            for moment in draw(victim, number, writes[victim], generator):
                while True:
                    folder = tempfile.mkdtemp(dir=scratch)
                    phase = kill(moment, folder, seconds)
                    if phase is not None:
                        break
                    missed += 1
                    moment = moment._replace(share=generator.random())
                rows.append((moment, phase, *resumed(moment, folder, whole)))
                print(len(rows), *rows[-1][0], *rows[-1][1:], flush=True)
                shutil.rmtree(folder)
                pathlib.Path(flags.output).write_text(report(rows, missed, writes), encoding="utf-8")
    if any(outcome != "equal" for *_, outcome in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
