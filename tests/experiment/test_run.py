"""The experiment as a function: what it returns, what it writes, what it promises about seeds."""

import csv
import functools
import json
import random
import signal

import numpy as np
import pytest
import tensorflow as tf

from recsys_po_rl import corpus, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import experiment, single_seed
from recsys_po_rl.policies.uniform_random import UniformRandom
from recsys_po_rl.recommender import FullInformationRecommender
from recsys_po_rl.run_folder import layout
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training.learner import PolicyGradientLearner
from recsys_po_rl.training.rows import TrainingRow

SMALL = dict(
    num_training_steps=3, horizon=4, users_per_step=5, num_evaluation_users=10, evaluation_batch_size=5,
    num_validation_users=10, checkpoint_every_steps=2, quiet=True, policies=[UniformRandom],
    runtime_ctor=functools.partial(SeededRuntime, mode="eager"),
    network_ctor=functools.partial(
        create_interest_evolution_simulation_network, num_docs=8, num_topics=4, corpus_ctor=corpus.ReferenceCorpus
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return experiment(seeds=[4], output_dir=str(tmp_path_factory.mktemp("runs") / "one"), **SMALL)


@pytest.mark.slow
def test_learned_policies_that_see_the_interest_are_marked(tmp_path):
    network_ctor = functools.partial(
        SMALL["network_ctor"], full_information=True, recommender_ctor=FullInformationRecommender
    )
    options = {**SMALL, "network_ctor": network_ctor, "num_training_steps": 1}
    evaluation = experiment(seeds=[4], output_dir=str(tmp_path / "run"), **options).evaluation
    assert set(evaluation["policies"]) == {"learned", "learned_last", "learned_greedy", "uniform_random"}
    assert evaluation["full_information"] == ["learned", "learned_last", "learned_greedy"]
    assert set(evaluation["price_of_partial_observability"]["policies"]) == {"uniform_random"}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    return experiment(seeds=[4, 9], output_dir=str(tmp_path_factory.mktemp("runs") / "several"), **SMALL)


def untimed(row):
    return {key: cell for key, cell in row.items() if not key.endswith(("_seconds", "_per_second"))}


def table(folder):
    with open(f"{folder}/metrics.csv", newline="") as file:
        return [untimed(row) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_the_run_folder_is_complete(one):
    import pathlib

    names = {path.name for path in pathlib.Path(one.run_dir).iterdir()}
    assert names == {
        "checkpoints", "config.gin", "environment.json", "evaluation.json", "metrics.csv", "operative_config.gin",
        "timings.json", "validation.csv", "price_of_partial_observability.png", "tensorboard", "portrait.json",
        "per_user.npz", "policy.keras", "report.html",
    }  # fmt: skip
    environment = json.loads(pathlib.Path(one.run_dir, "environment.json").read_text())
    assert environment["seeds"] == [4]
    assert environment["versions"]["tensorflow"] == tf.__version__
    assert json.loads(pathlib.Path(one.run_dir, "evaluation.json").read_text()) == one.evaluation


@pytest.mark.slow
def test_metrics_have_a_row_for_each_step(one):
    rows = table(one.run_dir)
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == [
        "seed",
        *[name for name in TrainingRow._fields if not name.endswith("second") and not name.endswith("seconds")],
    ]
    assert float(rows[1]["mean_reward"]) == one.history[1].mean_reward


@pytest.mark.slow
def test_the_result_names_its_policies(one):
    assert set(one.evaluation["policies"]) == {"learned", "learned_last", "learned_greedy", "uniform_random"}
    assert one.evaluation["left_out"] == {}
    assert [type(row) for row in one.history] == [TrainingRow] * 3


@pytest.mark.slow
def test_each_seed_of_several_is_a_run_of_its_own(one, several):
    first = several.per_seed[0]
    assert first.run_dir.endswith("seed_4")
    assert table(first.run_dir) == table(one.run_dir)
    assert first.evaluation == one.evaluation
    merged = table(several.run_dir)
    assert merged == table(first.run_dir) + table(several.per_seed[1].run_dir)
    assert [row["seed"] for row in merged] == ["4"] * 3 + ["9"] * 3
    learned = several.evaluation["policies"]["learned"]
    assert learned["num_seeds"] == 2
    means = [seed.evaluation["policies"]["learned"]["mean"] for seed in several.per_seed]
    assert learned["mean"] == pytest.approx(np.mean(means))
    assert [entry["seed"] for entry in several.evaluation["per_seed"]] == [4, 9]


@pytest.mark.slow
def test_checkpoints_hold_the_weights_of_the_last_step(one):
    found = tf.train.latest_checkpoint(f"{one.run_dir}/checkpoints")
    assert found.endswith("-3")
    names = [name for name, _ in tf.train.list_variables(found)]
    assert any("recommender" in name for name in names)
    assert any("optimizer" in name for name in names)


@pytest.mark.slow
def test_the_corpus_seed_holds_the_world_while_training_seeds_vary(tmp_path):
    world = {}
    for seed in (0, 1):
        prepared = single_seed.prepare(
            config_lib.validated(
                **{
                    **config_lib.bound(experiment), "num_training_steps": 0, "horizon": 4, "users_per_step": 5,
                    "num_shards": 1, "num_evaluation_users": 5, "evaluation_batch_size": 5, "policies": [],
                    "network_ctor": SMALL["network_ctor"], "num_validation_users": 5, "validate_every_steps": 0,
                }
            ),
            seed,
            world_seed=7,
        )  # fmt: skip
        world[seed] = prepared
    features = [np.asarray(world[s].network.corpus.initial_state().get("doc_features")) for s in (0, 1)]
    np.testing.assert_array_equal(*features)
    weights = [world[s].network.trainable_variables[0].numpy() for s in (0, 1)]
    assert not np.array_equal(*weights)


@pytest.mark.slow
def test_global_generators_of_python_and_numpy_are_left_alone(tmp_path):
    random.seed(5)
    np.random.seed(5)
    expected = random.Random(5).random(), np.random.RandomState(5).rand()
    experiment(output_dir=str(tmp_path / "run"), **{**SMALL, "num_training_steps": 0})
    assert (random.random(), np.random.rand()) == expected


@pytest.mark.slow
def test_an_interrupted_training_finishes_its_step_and_keeps_rows_and_weights(tmp_path):
    class Interrupted(PolicyGradientLearner):
        calls = 0

        def step(self, keys, progress):
            Interrupted.calls += 1
            if Interrupted.calls == 1:
                signal.raise_signal(signal.SIGINT)
            return super().step(keys, progress)

    with pytest.raises(KeyboardInterrupt):
        experiment(output_dir=str(tmp_path / "run"), learner_ctor=Interrupted, **SMALL)
    assert [row["step"] for row in table(tmp_path / "run")] == ["1"]
    assert tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints")).endswith("-1")


def test_nothing_is_written_for_bad_input(tmp_path):
    bad = functools.partial(SMALL["network_ctor"], slate_size=9)
    with pytest.raises(validation.InvalidInputError, match="slate_size must be at most num_docs"):
        experiment(output_dir=str(tmp_path / "run"), **{**SMALL, "network_ctor": bad})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": [2**32]}, "experiment.seeds must be different and at most 4294967295"),
        ({"seeds": "12"}, "experiment.seeds must be a list"),
        ({"policies": [UniformRandom] * 2}, "experiment.policies must have different names"),
        ({"output_dir": 3}, "output_dir must be a path, got 3"),
        ({"quiet": "yes"}, "experiment.quiet must be True or False"),
    ],
)
def test_errors_name_the_argument(options, message, tmp_path):
    with pytest.raises(validation.InvalidInputError, match=message):
        experiment(**{"output_dir": str(tmp_path / "run"), **SMALL, **options})


@pytest.mark.slow
def test_it_prints_progress_and_a_table(tmp_path, capsys):
    experiment(output_dir=str(tmp_path / "run"), **{**SMALL, "quiet": False})
    out = capsys.readouterr().out
    assert "step 1/3  reward" in out
    assert "user-steps/s" in out
    assert "minus learned" in out
    assert f"files: {tmp_path / 'run'}" in out


@pytest.mark.slow
def test_what_is_bound_by_gin_reaches_the_run_and_its_files(tmp_path):
    gin_config.parse([], ["recsys_po_rl.CollabFilteringRecommender.doc_embed_dim = 7"])
    experiment(output_dir=str(tmp_path / "run"), **SMALL)
    text = (tmp_path / "run" / layout.OPERATIVE_CONFIG).read_text()
    assert "recsys_po_rl.CollabFilteringRecommender.doc_embed_dim = 7" in text
    table_shapes = dict(tf.train.list_variables(tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints"))))
    assert [9, 7] in list(table_shapes.values())
