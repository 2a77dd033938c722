"""All modes of the command line, in a folder whose name is a pattern."""

import gin
import pytest

import run_simulation
from recsys_po_rl.cli import commands
from recsys_po_rl.run_folder import layout
from tests.support import bad_inputs

GLOB_NAME = "lr=[1e-3,2e-3] *?{a,b} #1 %41"


def command(*arguments):
    with gin.unlock_config():
        gin.clear_config()
    return commands.run(run_simulation.parse_flags([str(argument) for argument in arguments]))


@pytest.mark.slow
def test_a_run_goes_on_and_is_evaluated_reported_and_compared(tmp_path, capfd):
    folder = tmp_path / GLOB_NAME / "{0..9}?"
    assert command(*bad_inputs.RUN, "--output_dir", folder) == 0, capfd.readouterr().err
    evaluation = (folder / layout.EVALUATION).read_text()
    (folder / layout.EVALUATION).unlink()
    assert command("--resume", "--output_dir", folder) == 0, capfd.readouterr().err
    assert "resumed from step 1" in capfd.readouterr().out
    assert (folder / layout.EVALUATION).read_text() == evaluation
    assert command("--mode", "evaluate", folder, "--output_dir", tmp_path / "[e]") == 0, capfd.readouterr().err
    found, own = (layout.read_json(str(path), layout.EVALUATION) for path in (tmp_path / "[e]", folder))
    assert found["policies"]["learned"] == own["policies"]["learned"]
    assert command("--mode", "report", folder) == 0, capfd.readouterr().err
    assert command("--mode", "compare", folder, folder, "--output_dir", tmp_path / "*") == 0, capfd.readouterr().err
    assert (tmp_path / "*" / "compare.html").exists()
