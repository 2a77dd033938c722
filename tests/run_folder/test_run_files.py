"""Run folders as they are read for reports."""

import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import run_files
from tests.support.run_folder import write_run


def test_a_finished_run(tmp_path):
    run = run_files.read(str(write_run(tmp_path / "some_run", alarms=["0,3,entropy,0.1,0.2,low"])))
    assert run.name == "some_run"
    assert run.bound("num_training_steps") == "4"
    assert run.evaluation.seed == 0
    assert (len(run.metrics), len(run.validation), len(run.alarms)) == (4, 2, 1)
    assert run.alarms[0]["message"] == "low"
    assert not run.problems
    assert list(run.parts) == [run]


def test_several_seeds_in_their_order(tmp_path):
    for seed in (10, 9):
        write_run(tmp_path / f"seed_{seed}", seed)
    (tmp_path / "seed_of_doubt").mkdir()
    run = run_files.read(str(tmp_path))
    assert [part.name for part in run.parts] == ["seed_9", "seed_10"]
    reward = run_files.curve(run.metrics, "mean_reward")
    assert reward.num_seeds == 2
    assert (reward.low, reward.mean, reward.high) == (
        [19.0, 29.0, 39.0, 49.0], [19.5, 29.5, 39.5, 49.5], [20.0, 30.0, 40.0, 50.0],
    )  # fmt: skip


def test_cells_that_are_no_numbers_are_missing(tmp_path):
    run = run_files.read(str(write_run(tmp_path)))
    assert run_files.curve(run.metrics, "entropy") is None  # nan in every row
    assert run_files.curve(run.metrics, "unheard_of") is None
    assert run_files.curve([{"step": "1", "x": "inf"}, {"step": "2", "x": "3"}, {"step": "?"}], "x")[:2] == (
        [1.0, 2.0], [None, 3.0],
    )  # fmt: skip


def test_half_a_line_does_not_count(tmp_path):
    write_run(tmp_path, finished=False)
    with open(tmp_path / "metrics.csv", "a") as file:
        file.write("0,5\n0,6,60.0,0.1,nan,0.2")
    run = run_files.read(str(tmp_path))
    assert [row["step"] for row in run.metrics] == ["1", "2", "3", "4"]
    assert run.problems == ["metrics.csv: 1 rows have not as many cells as the header: left out"]


def test_cells_may_hold_commas_quotes_and_line_breaks(tmp_path):
    folder = write_run(tmp_path, alarms=['0,3,entropy,0.1,0.2,"low, and ""falling""\nfast\u2028still"'])
    assert run_files.read(str(folder)).alarms[0]["message"] == 'low, and "falling"\nfast\u2028still'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("evaluation.json", b'{"policies": {', "evaluation.json is no JSON, perhaps it was cut off"),
        ("evaluation.json", b"[1, 2]", "evaluation.json is not what this project writes"),
        ("portrait.json", b"\xff\xfe", "portrait.json cannot be read"),
        ("environment.json", b"[" * 100_000, "environment.json is no JSON"),
        ("config.gin", b"a.b.c = ", "config.gin: not gin text"),
        ("metrics.csv", b"\xff\n", "metrics.csv cannot be read"),
    ],
)
def test_broken_files_are_named_and_the_others_read(tmp_path, name, content, said):
    (write_run(tmp_path) / name).write_bytes(content)
    run = run_files.read(str(tmp_path))
    (problem,) = run.problems
    assert said in problem
    assert "\n" not in problem
    assert run.timings == {"training": 12.5, "learned": 0.25}


@pytest.mark.parametrize(
    ("what", "said"), [("nowhere", "is no folder"), ("empty", "holds no run"), ("file", "is no folder")]
)
def test_what_is_no_run_folder_is_refused(tmp_path, what, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(validation.InvalidInputError, match=said):
        run_files.read(str(tmp_path / what))


@pytest.mark.parametrize("folder", [None, "", 3])
def test_what_is_no_path_is_refused(folder):
    with pytest.raises(validation.InvalidTypeError, match="a run folder must be a path"):
        run_files.read(folder)
