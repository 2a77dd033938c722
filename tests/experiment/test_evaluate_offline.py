"""Mode evaluate_offline: a run's policy on logs of the same and of other policies."""

import json
import pathlib

import numpy as np
import pytest

import run_simulation
from recsys_po_rl import gin_config
from recsys_po_rl.cli import commands
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment.evaluate_offline import evaluate_offline, table
from recsys_po_rl.experiment.write_log import write_log
from recsys_po_rl.logs import reading, writing
from recsys_po_rl.run_folder import offline_schema

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
FEW = "recsys_po_rl.OfflineEvaluation.min_effective_sample_size = 2.0"
GREEDY = "recsys_po_rl.CollabFilteringRecommender.greedy = True"
HORIZON, USERS = 2, 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    gin_config.parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        [
            "recsys_po_rl.experiment.seeds = [4]",
            f"recsys_po_rl.experiment.horizon = {HORIZON}",
            "recsys_po_rl.experiment.num_training_steps = 1",
            "recsys_po_rl.experiment.num_evaluation_users = 12",
            "recsys_po_rl.experiment.evaluation_batch_size = 12",
            "recsys_po_rl.experiment.num_validation_users = 4",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random]",
            f"{NETWORK}.num_docs = 5",
            f"{NETWORK}.num_topics = 3",
        ],
    )
    return experiment(output_dir=str(tmp_path_factory.mktemp("runs") / "one"), quiet=True).run_dir


@pytest.fixture(scope="module")
def logs(run):
    return {name: write_log(run, USERS, [name], quiet=True).path for name in ("learned", "uniform_random")}


@pytest.mark.slow
def test_a_log_of_the_policy_itself_has_equal_weights(run, logs):
    results, folder = evaluate_offline(logs["learned"], run, gin_bindings=[FEW], quiet=True)
    rewards = reading.load_interactions(logs["learned"]).consumed_time.reshape(USERS, -1).sum(axis=1)
    for name, result in results.estimates.items():
        if result.effective_sample_size is not None:
            assert result.effective_sample_size == pytest.approx(USERS, rel=1e-3), name
        if name.endswith("importance_sampling"):
            assert result.value == pytest.approx(rewards.mean(), rel=1e-3), name
    assert (results.policy, results.logging_policies, results.num_users) == ("learned", ["learned"], USERS)
    own = json.loads(pathlib.Path(run, "evaluation.json").read_text())["policies"]["learned"]
    assert results.on_policy.to_json() == {"mean": own["mean"], "interval95": own["interval95"]}
    assert list(results.left_out) == ["estimators of slates"]
    assert pathlib.Path(folder).parent == pathlib.Path(run) / "offline_evaluations"
    assert offline_schema.read(str(pathlib.Path(folder, "offline_evaluation.json"))) == results


@pytest.mark.slow
def test_first_steps_of_a_log_of_another_policy(run, logs, capsys, tmp_path):
    bindings = ["--gin_bindings", FEW, "--gin_bindings", "recsys_po_rl.OfflineEvaluation.horizon = 1"]
    arguments = ["--mode", "evaluate_offline", logs["uniform_random"], "--policy", run, *bindings]
    assert commands.run(run_simulation.parse_flags([*arguments, "--output_dir", str(tmp_path / "out")])) == 0
    results = offline_schema.read(str(tmp_path / "out" / "offline_evaluation.json"))
    assert (results.horizon, results.slate_size, results.on_policy) == (1, 2, None)
    assert len(results.estimates) == 4 + 3 + 6
    # At the first step all histories are empty: the weights are those of one distribution of slates.
    assert results.estimates["standard_ips"].value == pytest.approx(results.estimates["importance_sampling"].value)
    assert 1.0 < results.estimates["importance_sampling"].effective_sample_size < USERS
    out = capsys.readouterr().out
    assert "estimated from a log of 30 users by uniform_random" in out
    assert "no interval: right only if the reward of a slot depends on its own document alone" in out
    assert table(results) in out


@pytest.mark.slow
def test_a_deterministic_target_is_refused(run, logs):
    """Thirty users of a random policy are rarely shown the one slate of the greedy policy at each of two steps."""
    results, _ = evaluate_offline(logs["uniform_random"], run, gin_bindings=[GREEDY], quiet=True)
    assert results.policy == "learned_greedy"
    for name, result in results.estimates.items():
        if name != "direct_method":
            assert result.refused is not None
            assert "\n" not in result.refused
    assert "refused" in table(results)


@pytest.mark.slow
def test_unfit_logs_are_refused(run, logs, tmp_path):
    log = reading.load_interactions(logs["uniform_random"])
    changed = {
        "lacks the joint propensities of 1 of 30 users": {
            "propensity": np.where(log.user_id == 3, np.nan, log.propensity)
        },
        "the log has the document 9, which the policy's corpus of 5 documents": {
            "item_id": np.where((log.user_id == 3) & (log.slot == 1), 9, log.item_id).astype(np.int32)
        },
    }
    for number, (says, columns) in enumerate(changed.items()):
        path = str(tmp_path / f"{number}.parquet")
        with writing.InteractionWriter(path) as writer:
            writer.write(type(log)(**{**log.present(), **columns}))
        with pytest.raises(validation.InvalidInputError, match=says):
            evaluate_offline(path, run, output_dir=str(tmp_path / "out"), quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["log.parquet"], "--mode evaluate_offline needs --policy, the run folder of the policy to evaluate"),
        (["--policy", "run"], "--mode evaluate_offline takes 1 log, got none"),
        (["log.parquet", "--policy", "run", "--users", "3"], "--mode evaluate_offline takes no --users"),
    ],
)
def test_bad_flags(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_simulation.parse_flags(["--mode", "evaluate_offline", *arguments])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
