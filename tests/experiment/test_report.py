"""Mode report."""

import os

import pytest

from recsys_po_rl import checks
from recsys_po_rl.experiment import command_line, report
from recsys_po_rl.reporting import run_files
from tests.reporting.run_folder import Page, write_run


def test_the_page_is_put_into_the_folder(tmp_path):
    folder = write_run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    path = report.report(str(folder))
    assert path == str(folder / "report.html")
    assert Page((folder / "report.html").read_text()).text.startswith("Report of run")
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert sorted(os.listdir(folder)) == sorted([*before, "report.html"])


def test_the_seeds_have_theirs(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"seed_{seed}", seed)
    report.report(str(tmp_path))
    assert "Report of seed_1" in (tmp_path / "seed_1" / "report.html").read_text()
    assert "seed_0 alone" in (tmp_path / "report.html").read_text()


def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report.run_dir_lib, "write_text", refuse)
    with pytest.raises(checks.InvalidInputError, match=r"report\.html' cannot be written: No space left on device"):
        report.report(str(write_run(tmp_path)))


def test_from_the_command_line(tmp_path, capsys):
    import run_simulation

    folder = write_run(tmp_path / "run")
    flags = run_simulation.parse_flags(["--mode", "report", str(folder)])
    assert command_line.run(flags) == command_line.DONE
    assert capsys.readouterr().out == f"report: {folder / 'report.html'}\n"
    flags = run_simulation.parse_flags(["--mode", "report", str(tmp_path / "nowhere")])
    assert command_line.run(flags) == command_line.BAD_INPUT
    assert "nowhere' is no folder: a run folder is needed" in capsys.readouterr().err
    assert run_files.read(str(folder)).name == "run"
