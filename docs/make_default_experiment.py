"""Writes docs/DEFAULT_EXPERIMENT.md from the run folder of the default experiment on seeds 0, 1 and 2.

python run_simulation.py --gin_bindings "recsys_po_rl.experiment.seeds = [0, 1, 2]" --output_dir runs/default
python docs/make_default_experiment.py runs/default
"""

import json
import pathlib
import shutil
import sys

from recsys_po_rl.experiment.console import policy_table

DOCS = pathlib.Path(__file__).resolve().parent

PAGE = """# The default experiment

Ten topics, 100 documents, slates of two, 100 slates a user; REINFORCE with reward-to-go, {steps} training steps of 1000
users; 2000 fresh users for the comparison. A corpus and training of its own for each seed. Made by

```sh
{commands}
```

with {versions}, {seconds:.0f} s of training a seed. The numbers behind the tables are in
[default_experiment/](default_experiment). `mean_upstream_count` there leaves out the last response, as recsim_ng's own
metric does; the tables count all 100.

| seed | learned | uniform random | ratio | learned, 99 responses | uniform random, 99 responses |
| --- | --- | --- | --- | --- | --- |
{rows}
"""


def main(run: pathlib.Path) -> None:
    """Writes the page and copies the numbers that it shows."""
    evaluation = json.loads((run / "evaluation.json").read_text())
    versions = json.loads((run / "environment.json").read_text())["versions"]
    metrics = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    seconds_column, num_seeds = metrics[0].index("step_seconds"), len(evaluation["per_seed"])
    rows, sections = [], []
    for of_seed in evaluation["per_seed"]:
        learned, random = (of_seed["policies"][name] for name in ("learned", "uniform_random"))
        rows.append(
            f"| {of_seed['seed']} | {learned['mean']:.2f} [{learned['interval95'][0]:.2f}, "
            f"{learned['interval95'][1]:.2f}] | {random['mean']:.2f} [{random['interval95'][0]:.2f}, "
            f"{random['interval95'][1]:.2f}] | {learned['mean'] / random['mean']:.2f} | "
            f"{learned['mean_upstream_count']:.2f} | {random['mean_upstream_count']:.2f} |"
        )
        table = policy_table(of_seed, of_seed["horizon"])
        sections.append(f"\n## Seed {of_seed['seed']}\n\n```text\n{table}\n```\n")
    sections.append(f"\n## Over the seeds\n\n```text\n{policy_table(evaluation, evaluation['horizon'])}\n```\n")
    page = PAGE.format(
        steps=(len(metrics) - 1) // num_seeds,
        commands="\n".join(line for line in (__doc__ or "").splitlines() if line.startswith("python ")),
        versions=f"Python {versions['python']}, TensorFlow {versions['tensorflow']}, NumPy {versions['numpy']}",
        seconds=sum(float(row[seconds_column]) for row in metrics[1:]) / num_seeds,
        rows="\n".join(rows),
    )
    (DOCS / "DEFAULT_EXPERIMENT.md").write_text(page + "".join(sections))
    kept = DOCS / "default_experiment"
    kept.mkdir(exist_ok=True)
    for name in ("evaluation.json", "metrics.csv", "operative_config.gin"):
        shutil.copy(run / name, kept / name)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
