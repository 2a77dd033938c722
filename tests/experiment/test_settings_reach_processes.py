"""Seeds in processes give what they give in one, whatever gin knows; evaluation.json and config.gin agree."""

import json

import pytest

# Everything that gin's text alone would lose: NumPy numbers, a constant, a scope, a module imported in Python only.
SCRIPT = """
import sys
import gin
import numpy as np
import own_users
import recsys_po_rl
from recsys_po_rl import gin_config
from recsys_po_rl.experiment.transfer import evaluate
from recsys_po_rl.experiment.run import experiment
from recsys_po_rl.user import InterestEvolutionUser

@gin_config.configurable
class Lazy(InterestEvolutionUser):
    def __init__(self, config, slowness=1.0, **options):
        super().__init__(config, no_click_mass=slowness, **options)

def both(name):
    for processes in (1, 2):
        experiment(output_dir=f"{name}_{processes}", num_processes=processes)

gin_config.parse(["experiments/default.gin", "overlays/tiny.gin"], [
    "recsys_po_rl.experiment.seeds = [0, 1]",
    "recsys_po_rl.experiment.num_training_steps = 0",
    "recsys_po_rl.SeededRuntime.mode = 'eager'",
    "recsys_po_rl.experiment.policies = []",
    "recsys_po_rl.experiment.num_evaluation_users = 12",
    "recsys_po_rl.experiment.horizon = 2",
])
network = "recsys_po_rl.create_interest_evolution_simulation_network.user_ctor"
if "settings" in sys.argv:
    gin.constant("own.STEP", np.float32(0.5))
    gin.parse_config("recsys_po_rl.InterestEvolutionUser.interest_step_size = %own.STEP")
    gin.parse_config(f"{network} = @recsys_po_rl.Scoped")
    gin.bind_parameter("few/recsys_po_rl.Scoped.slowness", np.float64(8.0))
    gin.bind_parameter("recsys_po_rl.experiment.horizon", np.int64(4))
    with gin.config_scope("few"):
        both("settings")
    evaluate("settings_2", output_dir="again", quiet=True)
else:
    gin.bind_parameter(network, Lazy)
    gin.bind_parameter("recsys_po_rl.Lazy.slowness", np.float64(8.0))
    both("lazy")
    evaluate("lazy_2", output_dir="lazy_again", quiet=True)
"""
OWN_USERS = """
from recsys_po_rl import gin_config
from recsys_po_rl.user import InterestEvolutionUser

@gin_config.configurable
class Scoped(InterestEvolutionUser):
    def __init__(self, config, slowness=1.0, **options):
        super().__init__(config, no_click_mass=slowness, **options)
"""


def evaluation_in(folder):
    return json.loads((folder / "evaluation.json").read_text())


@pytest.mark.slow
def test_settings_reach_the_processes_and_the_files(fresh_python, root, tmp_path):
    (tmp_path / "own_users.py").write_text(OWN_USERS)
    (tmp_path / "script.py").write_text(SCRIPT)

    done = fresh_python("script.py", "settings", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "one after another" not in done.stdout
    assert evaluation_in(tmp_path / "settings_1") == evaluation_in(tmp_path / "settings_2")
    assert evaluation_in(tmp_path / "settings_2")["policies"] == evaluation_in(tmp_path / "again")["policies"]
    assert evaluation_in(tmp_path / "settings_2")["horizon"] == 4
    text = (tmp_path / "settings_2" / "config.gin").read_text()
    for line in (
        "# The scope 'few' was active",
        "import own_users\n",
        "few/recsys_po_rl.Scoped.slowness = 8.0\n",
        "recsys_po_rl.InterestEvolutionUser.interest_step_size = 0.5\n",
        "recsys_po_rl.experiment.horizon = 4\n",
    ):
        assert line in text
    used = (tmp_path / "settings_2" / "seed_0" / "operative_config.gin").read_text()
    assert "few/recsys_po_rl.Scoped.slowness = 8.0\n" in used


@pytest.mark.slow
def test_a_class_of_main_runs_with_several_seeds(fresh_python, tmp_path):
    (tmp_path / "own_users.py").write_text(OWN_USERS)

    # `-c` defines its classes in `__main__`, of which there is no file, as `python -` and a notebook do.
    done = fresh_python("-c", SCRIPT, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "all tasks run one after another in this process: recsys_po_rl.Lazy is defined in no module" in done.stdout
    assert evaluation_in(tmp_path / "lazy_1") == evaluation_in(tmp_path / "lazy_2")
    assert evaluation_in(tmp_path / "lazy_2")["policies"] == evaluation_in(tmp_path / "lazy_again")["policies"]
    assert "recsys_po_rl.Lazy.slowness = 8.0\n" in (tmp_path / "lazy_2" / "config.gin").read_text()
