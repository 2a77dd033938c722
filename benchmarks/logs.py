"""Time and peak memory of a log of 10 million rows: written by policies of a run, read in a stream and whole.

python benchmarks/logs.py --folder FOLDER

FOLDER is new. Each part runs in a fresh process, whose peak is that of its resident memory; the first one trains
nothing, it makes a run folder of the default world. Rows of a table are printed, for RESULTS.md.
"""

import argparse
import json
import os
import subprocess
import sys
import time

RUN = """
from recsys_po_rl import gin_config
from recsys_po_rl.experiment import experiment
gin_config.parse(["experiments/default.gin"], [
    "recsys_po_rl.experiment.num_training_steps = 0",
    "recsys_po_rl.experiment.horizon = 50",
    "recsys_po_rl.experiment.num_evaluation_users = 1000",
    "recsys_po_rl.experiment.num_validation_users = 1000",
    "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
])
experiment(output_dir=folder + "/run", quiet=True)
"""
WRITE = """
from recsys_po_rl.experiment.write_log import write_log
result = write_log(folder + "/run", users, [policy], output_dir=folder + "/" + policy, quiet=True)
rows = result.num_rows
"""
STREAM = """
from recsys_po_rl.logs import reading
rows = sum(batch.num_rows for batch in reading.read_interactions(folder + "/" + policy + "/log.parquet"))
"""
LOAD = """
from recsys_po_rl.logs import reading
rows = reading.load_interactions(folder + "/" + policy + "/log.parquet").num_rows
"""
MEASURED = {"written": WRITE, "validated and read in a stream": STREAM, "validated and loaded whole": LOAD}


def measured(code: str, **values: object) -> dict[str, float]:
    """Run code in a fresh process; return its rows, seconds (imports included) and peak in GB."""
    program = "\n".join(
        [
            *(f"{name} = {value!r}" for name, value in values.items()),
            code,
            "import json, resource",
            "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6",
            "print('MEASURED', json.dumps({'rows': globals().get('rows', 0), 'peak': peak}))",
        ]
    )
    started = time.perf_counter()
    output = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - started
    (line,) = (line for line in output.splitlines() if line.startswith("MEASURED "))
    return {**json.loads(line.removeprefix("MEASURED ")), "seconds": seconds}


def main() -> None:
    """Print a row for each policy and part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--policies", nargs="+", default=["uniform_random", "learned"])
    flags = parser.parse_args()
    os.makedirs(flags.folder)
    measured(RUN, folder=flags.folder)
    alone = measured("import recsys_po_rl.logs.reading")
    print("| policy | what | rows | seconds | peak (GB) | file (MB) |\n|---|---|---|---|---|---|")
    for policy in flags.policies:
        for name, code in MEASURED.items():
            row = measured(code, folder=flags.folder, policy=policy, users=flags.users)
            size = os.path.getsize(os.path.join(flags.folder, policy, "log.parquet")) / 1e6
            print(
                f"| `{policy}` | {name} | {row['rows']} | {row['seconds']:.0f} | {row['peak']:.2f} | {size:.0f} |",
                flush=True,
            )
    print(f"\nimports alone: {alone['peak']:.2f} GB, {alone['seconds']:.0f} s")


if __name__ == "__main__":
    main()
