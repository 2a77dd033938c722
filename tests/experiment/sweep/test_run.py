"""Mode sweep with trainings: killed and resumed, compared on fresh users, refused where it must be."""

import csv
import json
import os
import pathlib
import re
import signal
import sys
import threading

import gin
import pytest

import run_simulation
from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import experiment, transfer
from recsys_po_rl.experiment.local_processes import LocalExecutor
from recsys_po_rl.experiment.sweep import run as sweep_lib
from recsys_po_rl.experiment.sweep import settings as settings_lib
from recsys_po_rl.experiment.sweep import space as space_lib
from recsys_po_rl.experiment.sweep import trial as trial_lib
from recsys_po_rl.reporting import pages, sweep_text
from recsys_po_rl.run_folder import sweep_file

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
ADAM = "tf.keras.optimizers.Adam.learning_rate"
NORM = "recsys_po_rl.PolicyGradientLearner.max_gradient_norm"
FILES = ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"]
BINDINGS = [
    "recsys_po_rl.experiment.horizon = 2",
    "recsys_po_rl.experiment.num_training_steps = 2",
    "recsys_po_rl.experiment.validate_every_steps = 1",
    "recsys_po_rl.experiment.checkpoint_every_steps = 1",
    "recsys_po_rl.experiment.users_per_step = 4",
    "recsys_po_rl.experiment.num_shards = 1",
    "recsys_po_rl.experiment.num_evaluation_users = 4",
    "recsys_po_rl.experiment.evaluation_batch_size = 4",
    "recsys_po_rl.experiment.num_validation_users = 4",
    "recsys_po_rl.PolicyGradientLearner.algorithm = @recsys_po_rl.Reinforce",
    "recsys_po_rl.PolicyGradientLearner.critic = None",
    "recsys_po_rl.PolicyGradientLearner.trace_decay = 1.0",
    f"{NETWORK}.num_docs = 8",
    f"{NETWORK}.num_topics = 4",
    f"recsys_po_rl.sweep.space = {{'{ADAM}': @rates/recsys_po_rl.FloatRange(), "
    f"'{NORM}': @norms/recsys_po_rl.Choice()}}",
    "rates/recsys_po_rl.FloatRange.low = 1e-3",
    "rates/recsys_po_rl.FloatRange.high = 0.5",
    "rates/recsys_po_rl.FloatRange.log = True",
    "norms/recsys_po_rl.Choice.choices = [1.0, None]",
    "recsys_po_rl.sweep.num_trials = 3",
    "recsys_po_rl.sweep.num_trials_at_once = 2",
    "recsys_po_rl.sweep.num_startup_trials = 1",
    "recsys_po_rl.sweep.num_best = 1",
    "recsys_po_rl.sweep.num_fresh_users = 6",
]

pytestmark = pytest.mark.slow


def sweep(folder, *bindings, **options):
    gin_config.parse(FILES, [*BINDINGS, *bindings])
    with pytest.MonkeyPatch.context() as patched:  # the space of these bindings is a good one
        patched.setattr(settings_lib, "raise_if_not_bindable", lambda space: None)
        return sweep_lib.sweep(output_dir=str(folder), quiet=True, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three trials, one after another in this process."""
    folder = tmp_path_factory.mktemp("sweeps") / "whole"
    return sweep(folder, executor=LocalExecutor(1))


def kill_one(folder, killed):
    """Kill the process of the first trial that has a checkpoint and is not at its end."""
    while not killed:
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try:
                is_ours = path.parent.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
                if is_ours and b"local_processes" in path.read_bytes() and any(folder.glob("trial_*/metrics.csv")):
                    os.kill(int(path.parent.name), signal.SIGKILL)
                    killed.append(path.parent.name)
                    return
            except OSError:
                continue
        threading.Event().wait(0.02)


def test_a_killed_trial_and_a_stopped_sweep_change_nothing(whole, tmp_path, capfd, monkeypatch):
    folder, killed = tmp_path / "killed", []
    thread = threading.Thread(target=kill_one, args=(folder, killed), daemon=True)
    thread.start()

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sweep_lib, "compared", stop)  # after the trials
        with pytest.raises(KeyboardInterrupt):
            sweep(folder, executor=LocalExecutor(2, fresh_processes=True))
    killed.append(None)
    thread.join()
    assert killed[0]
    assert capfd.readouterr().err.count("its process was killed, and is started again") == 1
    assert json.loads((folder / sweep_file.SWEEP).read_text()).get("best") is None
    resumed = sweep(folder, resume=True, executor=LocalExecutor(1))
    assert resumed.sweep == whole.sweep
    for name in (sweep_file.SWEEP, sweep_file.TRIALS):
        assert (folder / name).read_bytes() == (pathlib.Path(whole.folder) / name).read_bytes()
    sweep(folder, resume=True)  # is finished: needs no process


def test_files_of_a_sweep(whole):
    folder = pathlib.Path(whole.folder)
    trials = whole.sweep.trials
    rows = list(csv.DictReader((folder / sweep_file.TRIALS).read_text().splitlines()))
    assert [float(row[ADAM]) for row in rows] == [trial.bindings[ADAM] for trial in trials]
    for trial in trials:
        of_trial = folder / sweep_lib.trial_name(trial.number)
        config = (of_trial / "config.gin").read_text()
        assert f"Adam.learning_rate = {trial.bindings[ADAM]!r}" in config
        assert "sweep" not in config
        assert "FloatRange" not in config
        validations = list(csv.DictReader((of_trial / "validation.csv").read_text().splitlines()))
        assert trial.mean_rewards == [float(row["mean_reward"]) for row in validations]
    best = max((trial for trial in trials if trial.state == "complete"), key=lambda trial: trial.value)
    assert [entry.trial for entry in whole.sweep.best] == [best.number]
    assert whole.sweep.best[0].minus_first.mean == 0.0
    page = (folder / sweep_file.PAGE).read_text()
    assert f"trial {best.number}" in page
    assert pages.report(whole.folder) == str(folder / sweep_file.PAGE)
    assert (folder / sweep_file.PAGE).read_text() == page
    table = sweep_text.table(whole.sweep)
    assert re.search(rf"^{best.number} +{best.value:.4f} ", table, re.MULTILINE), table
    assert "on 6 fresh users, the same for all" in table


def test_fresh_users_are_others_than_those_of_the_evaluation(whole):
    best = os.path.join(whole.folder, sweep_lib.trial_name(whole.sweep.best[0].trial))
    fresh = trial_lib.evaluate_trial(best, 6)
    assert whole.sweep.best[0].mean == pytest.approx(fresh.mean(), rel=1e-12)
    evaluated = transfer.evaluate(best, quiet=True).evaluation["policies"]["learned"]["mean"]
    assert evaluated != pytest.approx(fresh[:4].mean(), rel=1e-6)


def finish(folder):
    """Train a pruned trial to its end, as `--resume` does."""
    flags = run_simulation.parse_flags(["--resume", "--output_dir", folder])
    with gin_state.isolated():
        assert commands.run(flags) == 0
    assert list(trial_lib.validations_in(folder)) == [1, 2]


def test_trials_without_hope_are_pruned_and_can_be_finished_as_runs(tmp_path):
    earlier = [
        sweep_file.Trial(number=number, state="complete", bindings={ADAM: 0.1}, steps=[1], mean_rewards=[100.0])
        for number in range(2)
    ]
    gin_config.parse(FILES, BINDINGS)
    space = {ADAM: sweep_file.DistributionRecord(kind="float", low=1e-3, high=0.5, log=True)}
    settings = sweep_file.Settings(
        version="1", space=space, num_trials_at_once=2, sampler="random", sampler_seed=0, num_startup_trials=1,
        pruner="median", percentile=25.0, num_warmup_steps=0,
    )  # fmt: skip
    job = trial_lib.Job(2, {ADAM: 0.2}, settings, earlier, str(tmp_path / "trial_0002"))
    pruned = trial_lib.run_trial(job)
    assert (pruned.state, pruned.steps) == ("pruned", [1])
    assert trial_lib.run_trial(job) == pruned  # again: nothing is trained
    finish(job.folder)
    impossible = job._replace(bindings={ADAM: -0.2}, folder=str(tmp_path / "trial_0003"))
    failed = trial_lib.run_trial(impossible)
    assert failed.state == "failed"
    assert "learning_rate must be a finite number above 0" in failed.reason
    assert not os.path.exists(impossible.folder)


def test_callbacks_of_an_experiment_are_callbacks(tmp_path):
    gin_config.parse(FILES, BINDINGS)
    with pytest.raises(validation.InvalidInputError, match=r"experiment.callbacks must be a list of instances of"):
        experiment(output_dir=str(tmp_path / "run"), callbacks=["x"])


@pytest.mark.parametrize(
    ("binding", "line"),
    [
        (
            "rates/recsys_po_rl.FloatRange.high = 0.6",
            "holds another sweep: space: .*learning_rate was float 0.001",
        ),
        ("recsys_po_rl.sweep.sampler_seed = 3", "holds another sweep: sampler_seed was 0, is 3"),
        ("recsys_po_rl.experiment.horizon = 3", "holds another sweep: experiment.horizon was 2, is 3"),
        ("recsys_po_rl.sweep.num_trials = 2", "sweep.num_trials must be at least 3, the trials of"),
    ],
)
def test_another_sweep_is_refused(whole, binding, line):
    before = (pathlib.Path(whole.folder) / sweep_file.SWEEP).read_bytes()
    with pytest.raises(validation.InvalidInputError, match=line):
        sweep(whole.folder, binding, resume=True)
    assert (pathlib.Path(whole.folder) / sweep_file.SWEEP).read_bytes() == before


def test_a_folder_with_a_sweep_is_not_overwritten(whole, tmp_path):
    with pytest.raises(validation.InvalidInputError, match="already holds a run"):
        sweep(whole.folder)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(validation.InvalidInputError, match="holds files, but no sweep: choose a new folder"):
        sweep(tmp_path, resume=True)


def test_the_command_line_goes_on_with_the_folder_alone(whole, capfd, tmp_path):
    flags = ["--mode", "sweep", "--resume", "--output_dir"]
    gin.clear_config()
    assert commands.run(run_simulation.parse_flags([*flags, whole.folder])) == 0
    captured = capfd.readouterr()
    assert "is finished: nothing is done" in captured.out
    assert captured.err == ""
    config = (pathlib.Path(whole.folder) / "config.gin").read_text()
    (tmp_path / "config.gin").write_text(f"import antigravity\n{config}")
    gin.clear_config()
    assert commands.run(run_simulation.parse_flags([*flags, str(tmp_path)])) == 2
    assert "needs the module 'antigravity', and a run folder has nothing imported" in capfd.readouterr().err
    assert "antigravity" not in sys.modules


def test_the_sweep_of_the_page_runs(root, tmp_path):
    text = (root / "docs" / "scaling.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```gin\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "study.gin").write_text(block)
    own = [line for line in BINDINGS if "sweep" not in line and "/" not in line and "critic" not in line]
    gin_config.parse(
        [str(tmp_path / "study.gin"), *FILES[1:]],
        [*own, "recsys_po_rl.PolicyGradientLearner.critic = None", "recsys_po_rl.sweep.num_trials = 1"],
    )
    gin_config.parse([], ["recsys_po_rl.sweep.num_best = 0"])
    result = sweep_lib.sweep(output_dir=str(tmp_path / "sweep"), quiet=True, executor=LocalExecutor(1))
    assert [trial.state for trial in result.sweep.trials] == ["complete"]
    assert len(result.sweep.settings.space) == 3


def test_the_shipped_sweep_has_a_space_that_the_experiment_accepts():
    gin_config.parse(["experiments/sweep.gin"], [])
    config = settings_lib.validated(**config_lib.bound(sweep_lib.sweep))
    space = config.settings.space
    gin_config.parse([], space_lib.lines(space, {name: space_lib.ends(space[name])[0] for name in space}))
    assert (config.num_trials, config.settings.num_trials_at_once, len(space)) == (40, 4, 4)
    assert gin.query_parameter(ADAM) == 2e-3
