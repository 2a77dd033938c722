"""Mode report."""

import os

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import compare, experiment
from recsys_po_rl.reporting import pages
from recsys_po_rl.run_folder import run_files
from tests.support.run_folder import Page, write_run


def test_the_page_is_put_into_the_folder(tmp_path):
    folder = write_run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = pages.report(str(folder))
    assert path == str(folder / "report.html")
    assert Page((folder / "report.html").read_text()).text.startswith("Report of run")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert sorted(os.listdir(folder)) == sorted([*before, "report.html"])


def test_the_seeds_have_theirs(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"seed_{seed}", seed)
    pages.report(str(tmp_path))
    assert "Report of seed_1" in (tmp_path / "seed_1" / "report.html").read_text()
    assert "seed_0 alone" in (tmp_path / "report.html").read_text()


def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages.run_dir_lib, "write_text", refuse)
    with pytest.raises(validation.InvalidInputError, match=r"report\.html' cannot be written: No space left on device"):
        pages.report(str(write_run(tmp_path)))


def test_from_the_command_line(tmp_path, capsys):
    import run_simulation

    folder = write_run(tmp_path / "run")
    flags = run_simulation.parse_flags(["--mode", "report", str(folder)])
    assert commands.run(flags) == commands.DONE
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    flags = run_simulation.parse_flags(["--mode", "report", str(tmp_path / "nowhere")])
    assert commands.run(flags) == commands.BAD_INPUT
    assert "nowhere' is no folder: a run folder is needed" in capsys.readouterr().err
    assert run_files.read(str(folder)).name == "run"


@pytest.fixture(scope="module")
def real_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "two_seeds"
    gin_config.parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        ["recsys_po_rl.experiment.seeds = [0, 1]", "recsys_po_rl.experiment.num_processes = 1"],
    )
    experiment(output_dir=str(folder), quiet=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("part", ["", "seed_1"])
def test_a_run_ends_with_a_report_that_shows_everything(real_run, part):
    page = Page((real_run / part / "report.html").read_text())
    for missing in ("cannot be shown", "not finished", "nothing to draw", "There is no", "is no JSON", "unknown"):
        assert missing not in page.text, missing
    assert len(page.alternatives()) >= 18  # the curve, diagnostics, users by policy and by segment, topics
    assert "uniform_ random" in page.text
    assert "Clicked under the learned policy" in page.text


@pytest.mark.slow
def test_a_run_compared_with_itself_differs_in_nothing(real_run, tmp_path):
    found = compare.compare([str(real_run), str(real_run)], str(tmp_path / "both"), quiet=True)
    assert (found.paired, found.unit, found.num_units) == (True, "seeds", [2, 2])
    alone = compare.compare([str(real_run / "seed_0")] * 2, str(tmp_path / "alone"), quiet=True)
    assert (alone.paired, alone.unit, alone.num_units) == (True, "users", [24, 24])
    for comparison in (found, alone):
        assert {row.policy for row in comparison.rows} >= {"learned", "uniform_random", "popular_by_clicks"}
        assert all(row.differences[1][:3] == (0.0, 0.0, 0.0) for row in comparison.rows)
    assert "cannot be shown" not in (tmp_path / "both" / "compare.html").read_text()
    with pytest.raises(validation.InvalidInputError, match=r"their seeds differ, \[0\] and \[1\]"):
        compare.compare([str(real_run / "seed_0"), str(real_run / "seed_1")], str(tmp_path / "no"), quiet=True)
