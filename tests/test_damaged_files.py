"""Files of run folders damaged at random: each reader gives a result or one line, and nothing else."""

import contextlib
import copy
import json
import random
import shutil

import numpy as np
import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.experiment import resume, transfer
from recsys_po_rl.reporting import comparison as comparison_lib
from recsys_po_rl.reporting import tables
from recsys_po_rl.reporting.html import comparison_page, report
from recsys_po_rl.run_folder import checkpoint_sidecar, checkpoints, csv_tables, layout, per_user, run_files, schema
from recsys_po_rl.training import rows as rows_lib
from tests.support.run_folder import write_run

NUM_DAMAGED = 500  # of each format
MAX_LINE = 1000  # characters; paths and the tail of a message of gin's included
TABLES = {layout.METRICS: lambda step: True, layout.VALIDATION: lambda step: step % 2 == 0}
NUMBERS = [0, -1, 1, 1e308, -1e308, 10**19, 0.5, 10**400, 1e-300, float("nan"), float("inf")]
VALUES = [None, True, [], {}, "", "x", "9" * 5000, [1], [None, 1.0], [[1.0, 2.0]], {"a": 1}, "\ud800\0\n", *NUMBERS]
CELLS = ["", "x", "9" * 5000, "1" * 200_000, "nan", "1e999", "-1", '"', "0x1", "\u0663", "1\n2", "1,2", "\0", "\r"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two runs of one seed with totals of each user, and two sidecars of checkpoints."""
    root = tmp_path_factory.mktemp("whole")
    for name in ("one", "other"):
        folder = write_run(root / name, alarms=["0,3,entropy,0.1,0.2,low"])
        (folder / layout.CONFIG).write_text("recsys_po_rl.experiment.quiet = True\n")
        write_training_rows(folder / layout.METRICS)
        totals = np.linspace(0.0, 9.0, 20, dtype=np.float32)
        names = ("learned", "uniform_random", "best_fixed_slate")
        per_user.save(str(folder), {policy: totals + place for place, policy in enumerate(names)})
        content = json.loads((folder / layout.ENVIRONMENT).read_text())
        content["versions"] = {layout.PROJECT: layout.PROJECT_VERSION}
        content.update(run="abc", arguments={"horizon": "8"})
        (folder / layout.ENVIRONMENT).write_text(json.dumps(content))
        for step in (2, 4):
            write_checkpoint(folder / layout.CHECKPOINTS, step)
    return root


def write_training_rows(path):
    lines = [",".join(("seed", *rows_lib.TrainingRow._fields))]
    lines += [f"0,{step},1.5,0.25,1.0,nan,0.0,0.0,nan,{10 * step},0.125,80.0" for step in range(1, 5)]
    path.write_text("".join(f"{line}\n" for line in lines))


def write_checkpoint(folder, step, run="abc"):
    folder.mkdir(exist_ok=True)
    (folder / f"ckpt-{step}.index").write_bytes(b"index")
    (folder / f"ckpt-{step}.data-00000-of-00001").write_bytes(b"data")
    prefix = str(folder / f"ckpt-{step}")
    state = {"best_mean_reward": 41.0, "best_step": 2}
    content = {"run": run, "step": step, "sha256": checkpoints._digests(prefix), "state": state}
    layout.write_json(str(folder), f"ckpt-{step}.json", {**content, "seal": checkpoint_sidecar.seal(content)})


@pytest.fixture
def runs(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


def use(runs):
    """Everything that the modes do with the files before anything is built, by mode."""
    one, other = str(runs / "one"), str(runs / "other")

    def shown_by_resume():
        evaluation = schema.read(f"{one}/{layout.EVALUATION}")
        schema.raise_if_not_shown(evaluation, layout.EVALUATION)
        assert tables.policy_table(evaluation)
        tables.price_lines(evaluation)

    def compared(unpaired):
        found = [run_files.read(one), run_files.read(other)]
        comparison = comparison_lib.compare(found, unpaired)
        assert comparison_page.page(comparison, found).encode()
        assert comparison_page.text(comparison, [run.config for run in found])

    def resumed():
        resume.raise_if_other(one, [0], {"horizon": "8"})

    def rows_of_resume():
        position = resume.position_of(one, TABLES)
        assert position.step in (0, 2, 4)
        rows = csv_tables.whole_rows(f"{one}/{layout.METRICS}")[: position.step]
        assert [rows_lib.row_from_text(row).step for row in rows] == list(range(1, position.step + 1))
        assert all(len(note) < MAX_LINE for note in position.notes)

    return {
        "report": lambda: report.page(run_files.read(one)).encode(),
        "compare": lambda: compared(False),
        "unpaired": lambda: compared(True),
        "resume a finished run": shown_by_resume,
        "resume": resumed,
        "position": rows_of_resume,
        "evaluate": lambda: transfer._sources(one),
        "finished": lambda: layout.is_finished(one),
    }


def raise_if_not_one_line(runs, modes=None):
    """Runs all uses, or those of some modes; returns the lines with which some refused."""
    lines = []
    for call in [call for mode, call in use(runs).items() if modes is None or mode in modes]:
        with contextlib.suppress(validation.InvalidInputError):
            try:
                call()
            except validation.InvalidInputError as error:
                lines.append(str(error))
                raise
    for line in lines:
        assert len(line.splitlines()) == 1, line
        assert len(line) <= MAX_LINE, line
    return lines


def flipped(content, rng):
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def cut_or_flipped(content, rng):
    return content[: rng.randrange(len(content))] if rng.random() < 0.25 else flipped(content, rng)


def containers(content):
    found = [content]
    for inner in found:
        found.extend(
            item for item in (inner.values() if isinstance(inner, dict) else inner) if type(item) in (dict, list)
        )
    return [inner for inner in found if inner]


def damaged_json(content, rng):
    if rng.random() < 0.2:
        return cut_or_flipped(content, rng)
    document = copy.deepcopy(json.loads(content))
    inner = rng.choice(containers(document))
    key = rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
    how = rng.randrange(4)
    if how == 0:
        del inner[key]
    elif how == 1:
        for _ in range(rng.choice((1, 3, 60, 300))):
            inner[key] = [inner[key]] if rng.random() < 0.5 else {"a": inner[key]}
    else:
        inner[key] = rng.choice(VALUES if how == 2 else NUMBERS)
    return json.dumps(document).encode()


def damaged_csv(content, rng):
    if rng.random() < 0.3:
        return cut_or_flipped(content, rng)
    rows = [line.split(",") for line in content.decode().splitlines()]
    row = rng.choice(rows)
    if rng.random() < 0.2:
        rows.insert(rng.randrange(len(rows)), list(row))
    else:
        row[rng.randrange(len(row))] = rng.choice(CELLS)
    return "".join(",".join(line) + "\n" for line in rows).encode()


def damaged_gin(content, rng):
    line = f"recsys_po_rl.experiment.x = {rng.choice(['(' * 300, '9' * 5000, '0x' + 'f' * 5000, repr('x' * 9000)])}\n"
    return content + line.encode() if rng.random() < 0.2 else cut_or_flipped(content, rng)


SIDECAR = f"{layout.CHECKPOINTS}/ckpt-4.json"
FORMATS = {
    "evaluation": (
        [layout.EVALUATION],
        damaged_json,
        {"report", "compare", "unpaired", "resume a finished run", "evaluate", "finished"},
    ),
    "json": (
        [layout.ENVIRONMENT, layout.PORTRAIT, layout.TIMINGS],
        damaged_json,
        {"report", "compare", "resume", "evaluate", "finished"},
    ),
    "sidecar": ([SIDECAR], damaged_json, {"position"}),
    "csv": ([layout.METRICS, layout.VALIDATION, layout.ALARMS], damaged_csv, {"report", "position"}),
    "npz": ([per_user.FILE], cut_or_flipped, {"compare"}),
    "gin": ([layout.CONFIG], damaged_gin, {"report", "resume"}),
}
NEVER_REFUSED = {"sidecar", "csv"}  # what is whole of them is used


def test_whole_files_are_used(runs):
    assert raise_if_not_one_line(runs) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_give_a_result_or_one_line(name, runs):
    rng = random.Random(f"damaged {name}")
    files, damage, modes = FORMATS[name]
    contents = {file: (runs / "one" / file).read_bytes() for file in files}
    num_refused = 0
    for number in range(NUM_DAMAGED):
        file = files[number % len(files)]
        damaged = damage(contents[file], rng)
        (runs / "one" / file).write_bytes(damaged)
        try:
            num_refused += bool(raise_if_not_one_line(runs, modes))
        except Exception as error:
            pytest.fail(f"damage {number} of {file}: {type(error).__name__}: {str(error)[:300]}: {damaged[:2000]!r}")
        (runs / "one" / file).write_bytes(contents[file])
    assert (num_refused > 0) == (name not in NEVER_REFUSED)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: of.update(state={}), "is not as it was written"),
        (lambda of: of["state"].update(best_step=1), "is not as it was written"),
        (lambda of: of.update(run="other"), "is not as it was written"),
        (lambda of: of.update(seal="0" * 64), "is not as it was written"),
        (lambda of: of.update(seal=3), "is not as it was written"),
        (lambda of: (of.pop("seal"), of.update(sael="x")), "is not as it was written"),
        (lambda of: (of.pop("seal"), of.update(sha256=[1])), "does not hold the SHA-256"),
        (lambda of: (of.pop("seal"), of.update(state=[])), "does not hold the state"),
        (lambda of: (of.pop("seal"), of["state"].update(best_step=[])), "does not hold the state"),
        (lambda of: (of.pop("seal"), of["state"].pop("best_mean_reward")), "does not hold the state"),
        (lambda of: (of.pop("seal"), of.update(run=[])), "is not about it"),
        (lambda of: of.pop("state"), "lacks run or step"),
    ],
)
def test_a_changed_sidecar_is_noticed_and_the_checkpoint_before_is_used(change, said, runs):
    path = runs / "one" / SIDECAR
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    position = resume.position_of(str(runs / "one"), TABLES)
    assert position.step == 2
    assert said in position.notes[0]


def test_a_sidecar_without_a_seal_is_that_of_an_earlier_version(runs):
    path = runs / "one" / SIDECAR
    content = json.loads(path.read_text())
    del content["seal"]
    path.write_text(json.dumps(content))
    assert resume.position_of(str(runs / "one"), TABLES).step == 4


def test_a_sidecar_that_nests_deep_is_broken(runs):
    (runs / "one" / SIDECAR).write_text('{"run": ' * 100_000)
    position = resume.position_of(str(runs / "one"), TABLES)
    assert position.step == 2
    assert "ckpt-4.json cannot be read" in position.notes[0]


@pytest.mark.parametrize("cell", ["x", "9" * 5000, "9" * 200_000])
def test_a_damaged_row_leaves_the_checkpoint_before_it(cell, runs):
    path = runs / "one" / layout.METRICS
    for old, new in (("\n0,3,", f"\n0,{cell},"), ("30,0.125", f"{cell},0.125")):
        whole = path.read_text()
        path.write_text(whole.replace(old, new))
        assert resume.position_of(str(runs / "one"), TABLES).step == 2
        path.write_text(whole)


@pytest.mark.parametrize("name", [layout.EVALUATION, layout.METRICS, layout.CONFIG, layout.ALARMS, per_user.FILE])
def test_a_folder_in_place_of_a_file_is_one_line_or_passed_over(name, runs):
    (runs / "one" / name).unlink()
    (runs / "one" / name).mkdir()
    assert any(name in line for line in raise_if_not_one_line(runs))
    if name != per_user.FILE:
        assert "is no regular file" in report.page(run_files.read(str(runs / "one")))


def test_a_damaged_evaluation_is_said_by_report_and_compare(runs):
    (runs / "one" / layout.EVALUATION).write_text('{"policies": {"learned": {"mean": ' + "9" * 400 + "}}}")
    page = report.page(run_files.read(str(runs / "one")))
    assert "evaluation.json cannot be read, see above" in page
    assert "has 400 digits" in page
    with pytest.raises(validation.InvalidInputError, match=r"evaluation\.json is no JSON: .* has 400 digits"):
        comparison_lib.compare([run_files.read(str(runs / name)) for name in ("one", "other")])
