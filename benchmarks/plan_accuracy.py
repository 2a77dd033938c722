"""Accuracy of `--dry_run`: estimates beside what is then measured, each in a fresh process.

python benchmarks/plan_accuracy.py [NAME ...] writes results/PLAN_ACCURACY.md; with names only those configurations
are measured anew, the other rows are kept.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "results" / "PLAN_ACCURACY.md"
EXPERIMENT = "recsys_po_rl.experiment"
FEW = f"{EXPERIMENT}.policies = [@recsys_po_rl.uniform_random, @recsys_po_rl.popular_by_clicks]"
# Name: gin files after the default, bindings.
CONFIGURATIONS = {
    "tiny, graph": (["overlays/tiny.gin", "runtime/graph.gin"], []),
    "tiny, XLA": (["overlays/tiny.gin"], []),
    "30 steps of 1000 users, 2 policies": ([], [FEW, f"{EXPERIMENT}.num_training_steps = 30"]),
    "10 steps of 16000 users, 2 policies": (
        [],
        [FEW, f"{EXPERIMENT}.num_training_steps = 10", f"{EXPERIMENT}.users_per_step = 16000"],
    ),
    "default": ([], []),
}
ESTIMATE = """
import json, sys, time
from recsys_po_rl import gin_config
from recsys_po_rl.experiment import config, experiment
from recsys_po_rl.experiment.dry_run import estimate
gin_config.parse(*json.loads(sys.argv[1]))
began, started = time.process_time(), time.perf_counter()
required = estimate.estimate(config.validated(**config.bound(experiment)))
seconds = time.perf_counter() - started
share = (time.process_time() - began) / seconds
print(json.dumps([sum(required.memory_parts.values()), required.seconds, seconds, share]))
"""
HEADER = (
    "| configuration | memory, estimated | measured | off by "
    "| time, estimated | measured | factor | in processor time | calibration |"
)
INTRO = """# How far `--dry_run` is off

Made by `python benchmarks/plan_accuracy.py`. Estimates come from a fresh process that builds nothing at size; what is
measured is the whole command in another fresh process right after it: peak resident memory, and wall-clock time from
start to end. The aims are a third for memory and a factor of 2 for time. Load is the number of processes that wanted
one of the {cores} cores on average in the minute before the estimate and at the end of the run: above {cores}, times
are those of a shared machine, and the estimate cannot know how busy it will be. "In processor time" leaves that out:
the estimate times the share of the processors that the calibration had, over the processor time of the run.

"""


def process(arguments: list[str]) -> tuple[float, float, float, str]:
    """Seconds, seconds of processor time, peak bytes and output of a Python process."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as output:
        environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
        child = subprocess.Popen([sys.executable, *arguments], stdout=output, cwd=folder, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        output.seek(0)
        if child.returncode:
            raise SystemExit(f"{arguments} failed with exit status {child.returncode}")
        return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0, output.read()


def row(name: str) -> str:
    """Estimates and measures one configuration; a line of the table."""
    files, bindings = CONFIGURATIONS[name]
    files = ["experiments/default.gin", *files]
    load = os.getloadavg()[0]
    _, _, _, output = process(["-c", ESTIMATE, json.dumps([files, bindings])])
    memory, seconds, calibration, share = json.loads(output.splitlines()[-1])
    flags = [flag for file in files for flag in ("--gin_files", file)]
    flags += [flag for binding in bindings for flag in ("--gin_bindings", binding)]
    took, processor, peak, _ = process(["-m", "recsys_po_rl", *flags, "--output_dir", "run"])
    return (
        f"| {name} | {memory / 1e9:.2f} GB | {peak / 1e9:.2f} GB | {memory / peak - 1:+.0%} | {seconds:.0f} s | "
        f"{took:.0f} s | {seconds / took:.2f} | {seconds * share / processor:.2f} | "
        f"{calibration:.0f} s, load {load:.1f} and {os.getloadavg()[0]:.1f} |"
    )


def main() -> None:
    """Measures, and rewrites the page after each row."""
    known = {}
    if PAGE.exists():
        known = dict(re.findall(r"^(?=\| (.+?) \|)(.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    for name in sys.argv[1:] or CONFIGURATIONS:
        known[name] = row(name)
        print(known[name], flush=True)
        rows = [known[name] for name in CONFIGURATIONS if name in known]
        rule = re.sub(r"[^|]+", " --- ", HEADER)
        PAGE.write_text(INTRO.format(cores=os.cpu_count()) + "\n".join([HEADER, rule, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
