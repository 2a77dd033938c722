"""Mode compare."""

import os

import pytest

from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import compare
from tests.reporting.test_comparison import change, write
from tests.support.run_folder import Page


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    import run_simulation

    one, other = write(tmp_path / "one"), write(tmp_path / "other", 62.0)
    before = {path: path.read_bytes() for folder in (one, other) for path in folder.iterdir()}

    def run(*arguments):
        status = commands.run(run_simulation.parse_flags(["--mode", "compare", *map(str, arguments)]))
        return status, capsys.readouterr()

    status, printed = run(one, other, "--output_dir", tmp_path / "out")
    assert status == commands.DONE
    assert "The policy learned in other brings 2.00" in printed.out
    assert printed.out.endswith(f"\npage: {tmp_path / 'out' / 'compare.html'}\n")
    assert Page((tmp_path / "out" / "compare.html").read_text()).text.startswith("Comparison of one, other")
    assert {path: path.read_bytes() for folder in (one, other) for path in folder.iterdir()} == before

    status, printed = run(one, other, "--output_dir", tmp_path / "out")
    assert status == commands.BAD_INPUT
    assert "already holds a comparison (compare.html)" in printed.err

    status, printed = run(one, other, "--output_dir", one)
    assert status == commands.BAD_INPUT
    assert "already holds a run" in printed.err

    change(other, corpus_seed=3)
    status, printed = run(one, other, "--output_dir", tmp_path / "refused")
    assert status == commands.BAD_INPUT
    assert printed.err == (
        "error: one and other cannot be paired: they differ in corpus_seed (0 and 3); "
        "--unpaired compares them as independent samples\n"
    )
    assert not os.path.exists(tmp_path / "refused")

    monkeypatch.chdir(tmp_path)
    status, printed = run(one, other, "--unpaired")
    assert status == commands.DONE
    assert "independent samples (Welch)" in printed.out
    (stamp,) = os.listdir(tmp_path / "comparisons")
    assert os.listdir(tmp_path / "comparisons" / stamp) == ["compare.html"]


def test_one_run_is_too_few_and_other_modes_take_no_unpaired(tmp_path, capsys):
    import run_simulation

    for arguments in (["--mode", "compare", "one"], ["--unpaired"]):
        with pytest.raises(SystemExit):
            run_simulation.parse_flags(arguments)
    assert "takes 2 run folders or more, got one" in capsys.readouterr().err


def test_what_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compare.layout, "write_text", refuse)
    folders = [str(write(tmp_path / name, mean)) for name, mean in (("one", 60.0), ("other", 62.0))]
    with pytest.raises(validation.InvalidInputError, match=r"compare\.html cannot be written: No space left on device"):
        compare.compare(folders, str(tmp_path / "out"), quiet=True)


def test_quiet_says_nothing_and_returns_the_comparison(tmp_path, capsys):
    folders = [str(write(tmp_path / name, mean)) for name, mean in (("one", 60.0), ("other", 62.0))]
    found = compare.compare(folders, str(tmp_path / "out"), quiet=True)
    assert capsys.readouterr().out == ""
    assert found.rows[0].differences[1].mean == pytest.approx(2.0, abs=1e-4)
