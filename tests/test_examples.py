"""The examples run as they stand, from a checkout, without touching the package."""

import json

import numpy as np
import pytest
import tensorflow as tf

EXAMPLES = ["impatient_user", "mean_history_scorer", "topic_bandit_recommender"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short(root, name):
    assert len((root / "examples" / f"{name}.py").read_text().splitlines()) < 60
    assert f"import examples.{name}" in (root / "examples" / f"{name}.gin").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_wired_by_its_gin_file_and_runs(fresh_python, root, tmp_path, name):
    ran = fresh_python(
        "run_simulation.py", "--gin_files", f"examples/{name}.gin", "--gin_files", "overlays/tiny.gin",
        "--gin_files", "runtime/eager.gin",
        "--output_dir", str(tmp_path / "run"), cwd=root,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    evaluation = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert evaluation["policies"]["learned"]["mean"] > 0.0
    class_name = "".join(part.title() for part in name.split("_"))
    assert class_name in (tmp_path / "run" / "operative_config.gin").read_text()


@pytest.mark.slow
def test_the_catalogue_of_films_becomes_a_trained_policy(fresh_python, root, tmp_path):
    folder = tmp_path / "run"
    ran = fresh_python(
        "run_simulation.py", "--gin_files", "examples/film_catalogue.gin", "--gin_files", "overlays/tiny.gin",
        "--gin_files", "runtime/eager.gin",
        "--output_dir", str(folder), cwd=root,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    films = [line.split(",")[0] for line in (root / "examples" / "film_catalogue.csv").read_text().splitlines()[1:]]
    assert len(films) == 100
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert evaluation["policies"]["learned"]["mean"] > 0.0
    assert (evaluation["world"]["num_docs"], evaluation["world"]["num_topics"]) == (100, 5)
    details = evaluation["policies"]["popular_by_clicks"]["details"]
    assert details["documents"] == [films[doc_id - 1] for doc_id in details["doc_ids"]]
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert any(film in report for film in films)


@pytest.mark.slow
def test_twenty_lines_of_a_log_become_a_trained_policy(fresh_python, root, tmp_path):
    assert len((root / "examples" / "film_log.csv").read_text().splitlines()) == 1 + 20
    ran = fresh_python(
        "run_simulation.py", "--mode", "pretrain", "--gin_files", "examples/film_log.gin",
        "--output_dir", str(tmp_path / "pretraining"), cwd=root,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    pretraining = json.loads((tmp_path / "pretraining" / "pretraining.json").read_text())
    assert pretraining["log"] == {
        "num_rows": 20, "num_clicks": 10, "num_users": {"training": 2, "validation": 2, "test": 2},
    }  # fmt: skip
    ran = fresh_python(
        "run_simulation.py", "--gin_files", "examples/film_log.gin", "--gin_files", "overlays/tiny.gin",
        "--gin_files", "runtime/eager.gin",
        "--gin_bindings", f"recsys_po_rl.experiment.pretrained = '{tmp_path / 'pretraining'}'",
        "--gin_bindings", "recsys_po_rl.experiment.horizon = 2",
        "--gin_bindings", "recsys_po_rl.experiment.num_training_steps = 1",
        "--output_dir", str(tmp_path / "run"), cwd=root,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads((tmp_path / "run" / "warm_start.json").read_text())["weights"] == pretraining["weights"]
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["policies"]["learned"]["mean"] > 0.0


@pytest.fixture
def examples(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root))


@pytest.mark.slow
def test_impatient_users_click_nothing_once_they_are_gone(examples):
    from examples.impatient_user import ImpatientUser
    from recsys_po_rl import fields
    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation.runtime import SeededRuntime
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network as create

    network = create(
        num_users=40, num_topics=4, num_docs=12, corpus_seed=0,
        user_ctor=lambda config: ImpatientUser(config, patience_steps=2),
    )  # fmt: skip
    trajectory = SeededRuntime(network.variables).trajectory(12, keys=seeding.make_keys(0))
    patience = trajectory[fields.USER_STATE].get("patience").numpy()
    clicked = trajectory[fields.USER_RESPONSE].get(fields.CHOICE).numpy() < 2
    gone = patience == 0
    assert 0.1 < gone[-1].mean() < 1.0
    assert not clicked[gone].any()
    assert clicked[~gone].any()
    assert (np.diff(gone.astype(int), axis=0) >= 0).all()  # nobody comes back


@pytest.mark.slow
def test_the_bandit_learns_its_weights(examples):
    from examples.topic_bandit_recommender import TopicBanditRecommender
    from recsys_po_rl import corpus
    from recsys_po_rl.simulation import seeding
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network as create
    from recsys_po_rl.training.learner import PolicyGradientLearner

    network = create(
        num_users=100, num_topics=5, num_docs=20, corpus_seed=1, corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=TopicBanditRecommender,
    )  # fmt: skip
    learner = PolicyGradientLearner(network, 20, lambda: tf.keras.optimizers.Adam(0.05))
    rewards = [float(learner.step([seeding.make_keys(0, "training", step)]).mean_reward) for step in range(60)]
    # A step's mean over 100 users has a standard error of 0.3, the difference below one of 0.12; the gain is near 1.
    assert np.mean(rewards[-20:]) > np.mean(rewards[:10]) + 0.5


@pytest.mark.slow
def test_the_learner_in_numpy_learns_in_the_vector_environment(examples, capsys, monkeypatch):
    import sys

    from examples import numpy_reinforce

    network = "recsys_po_rl.create_interest_evolution_simulation_network"
    bindings = [
        "recsys_po_rl.experiment.horizon = 4", f"{network}.num_docs = 7", f"{network}.num_topics = 4",
        "recsys_po_rl.SeededRuntime.mode = 'eager'", "recsys_po_rl.best_fixed_slate.rounds = ((2, 2),)",
    ]  # fmt: skip
    flags = ["numpy", "--episodes", "3", "--num_envs", "6", "--num_users", "12"]
    monkeypatch.setattr(sys, "argv", [*flags, *(f"--gin_bindings={binding}" for binding in bindings)])
    numpy_reinforce.main()
    assert "| external_policy |" in capsys.readouterr().out


def test_the_numpy_learners_gradient_is_that_of_central_differences(examples):
    from examples.numpy_reinforce import score_gradient

    rng = np.random.default_rng(0)
    logits, slates = rng.normal(size=(2, 5)), np.array([[1, 4], [0, 2]])

    def log_prob(logits):
        left, total = logits.copy(), 0.0
        for slot in range(2):
            shares = np.exp(left - left.max(axis=1, keepdims=True))
            shares /= shares.sum(axis=1, keepdims=True)
            total += np.log(shares[np.arange(2), slates[:, slot]]).sum()
            left[np.arange(2), slates[:, slot]] = -np.inf
        return total

    numeric = np.zeros_like(logits)
    for place in np.ndindex(*logits.shape):
        step = np.zeros_like(logits)
        step[place] = 1e-5
        numeric[place] = (log_prob(logits + step) - log_prob(logits - step)) / 2e-5
    np.testing.assert_allclose(score_gradient(logits, slates), numeric, atol=1e-6)
