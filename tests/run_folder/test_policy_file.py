"""The learned policy as a file, and in a network of the user's own."""

import functools
import json
import pathlib
import zipfile

import numpy as np
import pytest
import tensorflow as tf

import recsys_po_rl
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import experiment
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.run_folder import layout, policy_file
from recsys_po_rl.scoring.averaged_history import AveragedHistoryModel
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

HORIZON, SEED = 3, 5
WORLD = dict(num_docs=6, num_topics=2, history_length=4, slate_size=2, corpus_seed=SEED)
RUNTIME = functools.partial(SeededRuntime, mode="eager")
RECOMMENDER = functools.partial(CollabFilteringRecommender, model_ctor=AveragedHistoryModel, doc_embed_dim=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return experiment(
        seeds=[SEED], num_training_steps=3, horizon=HORIZON, users_per_step=2, num_shards=1, num_evaluation_users=4,
        evaluation_batch_size=2, num_validation_users=2, validate_every_steps=1, policies=[], runtime_ctor=RUNTIME,
        network_ctor=functools.partial(
            create_interest_evolution_simulation_network,
            **{**WORLD, "corpus_seed": None, "recommender_ctor": RECOMMENDER},
        ),
        output_dir=str(tmp_path_factory.mktemp("runs") / "run"), quiet=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def policy(run):
    return recsys_po_rl.load_policy(run.run_dir)


def network_of(policy, num_users):
    return create_interest_evolution_simulation_network(
        num_users=num_users, recommender_ctor=policy.recommender_ctor, **WORLD
    )


@pytest.mark.slow
def test_its_weights_are_the_best_ones(run, policy):
    best = tf.train.load_checkpoint(tf.train.latest_checkpoint(f"{run.run_dir}/checkpoints/best"))
    kept = {tuple(best.get_tensor(name).ravel()) for name in best.get_variable_to_shape_map() if "_model" in name}
    assert {tuple(weight.ravel()) for weight in policy.scorer.get_weights()} <= kept


@pytest.mark.slow
def test_it_brings_what_the_run_says_that_it_brings(run, policy):
    network = network_of(policy, 2)
    outcome = evaluator.evaluate(RUNTIME(network.variables), HORIZON, num_users=4, batch_size=2, seed=SEED)
    assert float(outcome.total.mean()) == run.evaluation["policies"]["learned"]["mean"]


@pytest.mark.slow
def test_networks_of_any_number_of_users_score_alike_and_share_no_weights(policy):
    networks = [network_of(policy, num_users) for num_users in (1, 3)]
    ids, times = np.array([[0, 1, 6, 2], [0, 0, 0, 3]]), np.array([[0.0, 0.5, 2.0, 1.0], [0.0, 0.0, 0.0, 4.0]])
    expected = policy.scorer(ids, times).numpy()
    assert np.ptp(expected) > 0.0
    for network in networks:
        np.testing.assert_array_equal(network.recommender.model(ids, times).numpy(), expected)
    networks[0].trainable_variables[0].assign_add(tf.ones_like(networks[0].trainable_variables[0]))
    np.testing.assert_array_equal(networks[1].recommender.model(ids, times).numpy(), expected)
    np.testing.assert_array_equal(policy.scorer(ids, times).numpy(), expected)


@pytest.mark.slow
def test_options_reach_the_recommender(run):
    policy = recsys_po_rl.load_policy(pathlib.Path(run.run_dir), greedy=True)
    assert network_of(policy, 2).recommender.greedy


@pytest.mark.slow
@pytest.mark.parametrize(("size", "message"), [("num_docs", "num_docs = 6, got 7"), ("history_length", "= 4, got 7")])
def test_a_network_of_another_size_is_refused(policy, size, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        create_interest_evolution_simulation_network(
            num_users=2, recommender_ctor=policy.recommender_ctor, **{**WORLD, size: 7}
        )


@pytest.mark.slow
def test_what_is_no_run_folder_is_refused(tmp_path, run):
    with pytest.raises(validation.InvalidTypeError, match=r"load_policy: a path of a run folder is needed, got 3$"):
        recsys_po_rl.load_policy(3)
    with pytest.raises(validation.InvalidInputError, match=r"load_policy: there is no run folder '.*nowhere'$"):
        recsys_po_rl.load_policy(tmp_path / "nowhere")
    with pytest.raises(validation.InvalidInputError, match=r"load_policy: '.*' has no policy.keras$"):
        recsys_po_rl.load_policy(tmp_path)
    with pytest.raises(validation.InvalidTypeError, match=r"load_policy: recommender_ctor must be a constructor"):
        recsys_po_rl.load_policy(run.run_dir, recommender_ctor="greedy")
    (tmp_path / "seed_4").mkdir()
    (tmp_path / "seed_4" / layout.POLICY).write_bytes(b"")
    with pytest.raises(validation.InvalidInputError, match=r"has no policy.keras; each of its seeds has one: seed_4$"):
        recsys_po_rl.load_policy(tmp_path)


def rewritten(source, target, change):
    """A copy of a saved model with another configuration."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            new.writestr(name, content)


@pytest.mark.slow
def test_what_is_no_saved_model_is_refused(run, tmp_path):
    saved, target = pathlib.Path(run.run_dir, layout.POLICY), tmp_path / layout.POLICY
    for content in (b"", b"no model", saved.read_bytes()[:500], b"\x80\x04]."):
        target.write_bytes(content)
        with pytest.raises(validation.InvalidInputError, match=r"is no policy that can be read: ") as error:
            recsys_po_rl.load_policy(tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_model_that_names_other_modules_is_refused_before_they_are_imported(run, tmp_path):
    import sys

    def change(config):
        config.update(module="antigravity", class_name="fly", registered_name="fly")

    rewritten(pathlib.Path(run.run_dir, layout.POLICY), tmp_path / layout.POLICY, change)
    with pytest.raises(
        validation.InvalidInputError, match=r"it names the class 'fly', which this project does not load"
    ):
        recsys_po_rl.load_policy(tmp_path)
    assert "antigravity" not in sys.modules


def test_a_recommender_without_a_keras_model_leaves_no_policy(tmp_path):
    class Tabular:
        model = "a table"

    policy_file.save(str(tmp_path), Tabular())
    policy_file.save(str(tmp_path), object())
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_keras_cannot_save_is_left_out_with_a_word(tmp_path):
    class Unsaved(tf.keras.Model):
        def __init__(self, table):
            super().__init__()
            self.table = table

        def get_config(self):
            raise NotImplementedError("no configuration")

    class Owner:
        model = Unsaved([1])

    with pytest.warns(UserWarning, match=r"policy.keras is left out: Unsaved cannot be saved"):
        policy_file.save(str(tmp_path), Owner())
    assert list(tmp_path.iterdir()) == []


def test_the_package_has_no_other_lazy_names():
    with pytest.raises(AttributeError, match="no attribute 'load_polcy'"):
        _ = recsys_po_rl.load_polcy
