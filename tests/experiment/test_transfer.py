"""Mode evaluate: a run's policy, in its own world and elsewhere."""

import json
import pathlib
import shutil

import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment.transfer import LoadedRun, Source, evaluate
from recsys_po_rl.reporting import tables
from recsys_po_rl.run_folder.schema import Evaluation

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
BINDINGS = [
    "recsys_po_rl.experiment.seeds = [4]",
    "recsys_po_rl.experiment.horizon = 2",
    "recsys_po_rl.experiment.num_training_steps = 2",
    "recsys_po_rl.experiment.num_evaluation_users = 6",
    "recsys_po_rl.experiment.evaluation_batch_size = 3",
    "recsys_po_rl.experiment.num_validation_users = 3",
    "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
    f"{NETWORK}.num_docs = 8",
    f"{NETWORK}.num_topics = 4",
]
FILES = ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"]


def which_is_which(content):
    return tables.which_is_which(Evaluation.from_json(content, ""), "RUN")


def trained(folder, *bindings):
    gin_config.parse(FILES, [*BINDINGS, *bindings])
    return experiment(output_dir=str(folder), quiet=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("runs") / "one")


@pytest.fixture(scope="module")
def elsewhere(run):
    """Another user model, horizon and population."""
    bindings = [
        "recsys_po_rl.InterestEvolutionUser.interest_step_size = 0.5",
        "recsys_po_rl.experiment.horizon = 3",
        "recsys_po_rl.experiment.num_evaluation_users = 9",
    ]
    return evaluate(run.run_dir, gin_bindings=bindings, quiet=True)


@pytest.mark.slow
def test_without_a_change_the_runs_own_numbers_come_out(run):
    again = evaluate(run.run_dir, quiet=True)
    assert again.evaluation["changed"] == []
    assert again.evaluation["policies"] == run.evaluation["policies"]
    assert again.evaluation["trained_in"] == again.evaluation["evaluated_in"]
    assert again.evaluation["best_step"] == run.evaluation["selection"]["best_step"]
    assert pathlib.Path(again.folder).parent == pathlib.Path(run.run_dir) / "evaluations"
    written = json.loads(pathlib.Path(again.folder, "evaluation.json").read_text())
    assert written == again.evaluation
    names = {path.name for path in pathlib.Path(again.folder).iterdir()}
    assert {"config.gin", "trained_config.gin", "operative_config.gin", "environment.json"} <= names
    assert "evaluated in the same world, on the same users" in which_is_which(again.evaluation)


@pytest.mark.slow
def test_elsewhere_it_says_which_is_which(run, elsewhere):
    found = elsewhere.evaluation
    assert [one["name"] for one in found["changed"]] == [
        "InterestEvolutionUser.interest_step_size",
        "experiment.horizon",
        "experiment.num_evaluation_users",
    ]
    assert (found["trained_in"]["horizon"], found["evaluated_in"]["horizon"]) == (2, 3)
    assert found["horizon"] == 3
    assert found["policies"]["learned"]["num_users"] == 9
    assert found["policies"]["learned"]["mean"] != run.evaluation["policies"]["learned"]["mean"]
    own = run.evaluation["policies"]["learned"]
    assert found["learned_where_it_was_trained"] == {
        "mean": own["mean"], "interval95": own["interval95"], "num_users": 6, "horizon": 2,
    }  # fmt: skip
    text = which_is_which(found)
    assert text.splitlines()[0] == "trained in RUN"
    assert "experiment.horizon = 3 " in text
    assert "(trained with 2)" in text
    assert f"and {own['mean']:.2f} [" in text


@pytest.mark.slow
def test_one_other_seed_asks_for_its_users_and_a_corpus_seed_for_its_corpus(run, tmp_path):
    bindings = ["recsys_po_rl.experiment.seeds = [9]", "recsys_po_rl.experiment.corpus_seed = 2"]
    found = evaluate(run.run_dir, [], bindings, str(tmp_path / "there"), quiet=True)
    assert (found.evaluation["seed"], found.evaluation["corpus_seed"], found.evaluation["trained_seed"]) == (9, 2, 4)
    assert found.evaluation["trained_in"]["corpus_seed"] == 4
    assert found.folder == str(tmp_path / "there")
    with pytest.raises(validation.InvalidInputError, match=r"or one seed.*got \[1, 2\] for 1 trained"):
        evaluate(run.run_dir, [], ["recsys_po_rl.experiment.seeds = [1, 2]"], quiet=True)


@pytest.mark.slow
def test_a_policy_that_does_not_fit_is_refused_before_anything_is_written(run, tmp_path):
    target = tmp_path / "there"
    with pytest.raises(validation.InvalidInputError, match="does not fit this network"):
        evaluate(run.run_dir, [], [f"{NETWORK}.num_docs = 9"], str(target), quiet=True)
    with pytest.raises(validation.InvalidInputError, match="did you mean horizon"):
        evaluate(run.run_dir, [], ["recsys_po_rl.experiment.horizn = 9"], str(target), quiet=True)
    assert not target.exists()
    with pytest.raises(validation.InvalidInputError, match="already holds a run"):
        evaluate(run.run_dir, output_dir=run.run_dir, quiet=True)


@pytest.mark.slow
def test_folders_without_a_policy_are_refused(run, tmp_path):
    with pytest.raises(validation.InvalidInputError, match="there is no run folder"):
        evaluate(str(tmp_path / "nowhere"))
    with pytest.raises(validation.InvalidInputError, match=r"is no run folder: it has no whole environment\.json"):
        evaluate(str(tmp_path))
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(validation.InvalidInputError, match="has no whole checkpoint"):
        evaluate(str(copy))
    (copy / "config.gin").unlink()
    with pytest.raises(validation.InvalidInputError, match=r"config\.gin cannot be read"):
        evaluate(str(copy))


@pytest.mark.slow
def test_a_run_whose_configuration_gin_does_not_know_is_refused(run, tmp_path):
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    environment = json.loads((copy / "environment.json").read_text())
    environment["arguments"]["experiment.horizon"] = "7"
    (copy / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(validation.InvalidInputError, match=r"config\.gin does not have \(experiment\.horizon\)"):
        evaluate(str(copy))


@pytest.mark.slow
def test_several_seeds_are_pooled(tmp_path):
    several = trained(tmp_path / "several", "recsys_po_rl.experiment.seeds = [4, 9]",
                      "recsys_po_rl.experiment.num_processes = 1")  # fmt: skip
    again = evaluate(several.run_dir, quiet=True)
    assert again.evaluation["policies"] == several.evaluation["policies"]
    assert [one["trained_seed"] for one in again.evaluation["per_seed"]] == [4, 9]
    assert sorted(path.name for path in pathlib.Path(again.folder).glob("seed_*")) == ["seed_4", "seed_9"]
    assert json.loads(pathlib.Path(again.folder, "environment.json").read_text())["seeds"] == [4, 9]
    assert "recsys_po_rl.experiment.seeds = [4, 9]" in pathlib.Path(again.folder, "config.gin").read_text()
    text = which_is_which(again.evaluation)
    assert "seed 4: learned reaches" in text
    assert "seed 9: learned reaches" in text
    alone = evaluate(str(pathlib.Path(several.run_dir, "seed_9")), quiet=True)
    assert alone.evaluation["policies"] == several.evaluation["per_seed"][1]["policies"]


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_folder_of_several_seeds_is_no_policy(num_seeds):
    sources = [Source(f"run/seed_{seed}", seed, 0, "") for seed in range(num_seeds)]
    loaded = LoadedRun(None, sources, "", {}, {})
    if num_seeds == 1:
        loaded.raise_if_several_seeds("a log")
        return
    with pytest.raises(validation.InvalidInputError) as raised:
        loaded.raise_if_several_seeds("a log")
    assert str(raised.value) == "a log is of one seed: choose a folder of 'run': seed_0, seed_1"
