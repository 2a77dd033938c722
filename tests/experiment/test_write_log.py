"""Mode log: interactions of fresh users with the policies of a run."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation.propensities import Propensities
from recsys_po_rl.experiment import experiment
from recsys_po_rl.experiment.write_log import interactions_of, write_log
from recsys_po_rl.logs import reading

NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
HORIZON, NUM_DOCS, BATCH = 3, 8, 4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    gin_config.parse(
        ["experiments/default.gin", "overlays/tiny.gin", "runtime/eager.gin"],
        [
            "recsys_po_rl.experiment.seeds = [4]",
            f"recsys_po_rl.experiment.horizon = {HORIZON}",
            "recsys_po_rl.experiment.num_training_steps = 1",
            "recsys_po_rl.experiment.num_evaluation_users = 8",
            f"recsys_po_rl.experiment.evaluation_batch_size = {BATCH}",
            "recsys_po_rl.experiment.num_validation_users = 4",
            "recsys_po_rl.experiment.policies = [@recsys_po_rl.uniform_random, @recsys_po_rl.lin_ucb]",
            f"{NETWORK}.num_docs = {NUM_DOCS}",
            f"{NETWORK}.num_topics = 4",
        ],
    )
    return experiment(output_dir=str(tmp_path_factory.mktemp("runs") / "one"), quiet=True).run_dir


@pytest.fixture(scope="module")
def written(run):
    policies = ["learned", "uniform_random", "lin_ucb", "learned_greedy"]
    return write_log(run, 23, policies, quiet=True)


@pytest.mark.slow
def test_users_are_split_evenly_and_every_row_is_right(run, written):
    log = reading.load_interactions(written.path, num_docs=NUM_DOCS)
    assert pathlib.Path(written.path).parent.parent == pathlib.Path(run) / "logs"
    assert log.num_rows == written.num_rows == 23 * HORIZON * 2
    users = pd.DataFrame(log.present()).groupby("policy", sort=False)["user_id"].unique()
    assert {name: (ids.min(), len(ids)) for name, ids in users.items()} == {
        "learned": (0, 6),
        "uniform_random": (6, 6),
        "lin_ucb": (12, 6),
        "learned_greedy": (18, 5),
    }
    slates = log.item_id.reshape(-1, 2)
    assert (slates[:, 0] != slates[:, 1]).all()
    assert 0 < log.clicked.mean() <= 0.5


@pytest.mark.slow
def test_propensities_are_those_of_the_policies(written):
    frame = pd.read_parquet(written.path)
    random = frame[frame.policy == "uniform_random"]
    np.testing.assert_allclose(random.propensity, 1 / (NUM_DOCS * (NUM_DOCS - 1)), rtol=1e-14)
    np.testing.assert_allclose(random.propensity_prefix[random.slot == 0], 1 / NUM_DOCS, rtol=1e-14)
    np.testing.assert_allclose(random.propensity_item, 1 / NUM_DOCS, rtol=1e-14)
    assert (frame[frame.policy == "learned_greedy"].propensity == 1).all()
    assert frame[frame.policy == "lin_ucb"].propensity.isna().all()
    assert list(written.unknown) == ["lin_ucb"]
    learned = frame[frame.policy == "learned"]
    last = learned[learned.slot == 1]
    np.testing.assert_array_equal(last.propensity, last.propensity_prefix)
    assert learned.propensity.between(0, 1, inclusive="neither").all()
    assert learned.propensity.nunique() > 10


@pytest.mark.slow
def test_metadata_describe_world_and_policies(run, written):
    metadata = reading.read_metadata(written.path)
    assert metadata["documents"]["num_docs"] == NUM_DOCS == len(metadata["documents"]["doc_topic"])
    assert (metadata["seed"], metadata["horizon"], metadata["slate_size"]) == (4, HORIZON, 2)
    assert [policy["num_users"] for policy in metadata["policies"]] == [6, 6, 6, 5]
    assert f"experiment.horizon = {HORIZON}\n" in metadata["config"]
    assert "tensorflow" in metadata["versions"]
    world = json.loads(pathlib.Path(run, "evaluation.json").read_text(encoding="utf-8"))["world"]
    assert metadata["world"] == world


@pytest.mark.slow
def test_users_are_fresh_and_do_not_depend_on_the_number_of_users(run, tmp_path):
    first = reading.load_interactions(write_log(run, 5, output_dir=str(tmp_path / "a"), quiet=True).path)
    more = reading.load_interactions(write_log(run, 9, output_dir=str(tmp_path / "b"), quiet=True).path)
    for name, values in first.present().items():
        np.testing.assert_array_equal(values, getattr(more, name)[: len(values)])
    frame = pd.DataFrame(more.present())
    by_batch = [frame[frame.user_id // BATCH == batch].item_id.to_numpy()[: HORIZON * 2] for batch in range(2)]
    assert (by_batch[0] != by_batch[1]).any()  # other users, other slates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_users": 0}, "users must be an integer of at least 1"),
        ({"policies": ["popular"]}, r"policies: each must be one of .*learned.*, got 'popular'"),
        ({"policies": ["learned", "learned"]}, "policies must be different names"),
        (
            {"policies": ["learned", "uniform_random"], "num_users": 1},
            "users must be at least the number of policies, 2",
        ),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(run, arguments, message):
    before = sorted(path for path in pathlib.Path(run).rglob("*"))
    with pytest.raises(validation.InvalidInputError, match=message):
        write_log(run, **{"num_users": 5, **arguments}, quiet=True)
    assert sorted(path for path in pathlib.Path(run).rglob("*")) == before


def test_rows_of_a_batch_by_hand():
    trajectory = {  # 2 steps, 3 users of whom 2 count, 2 slots; the last slot of user 1 is empty at step 1
        fields.SLATE_DOCS: Value(doc_id=np.array([[[3, 1], [2, 4], [1, 2]], [[5, 6], [7, 0], [1, 2]]])),
        fields.USER_RESPONSE: Value(
            choice=np.array([[1, 2, 0], [2, 0, 0]]),
            consumed_time=np.array([[1.5, -1.0, 9.0], [-1.0, 0.25, 9.0]], np.float32),
        ),
    }
    log = interactions_of(trajectory, None, policy="mine", first_user=10, num_users=2)
    assert log.user_id.tolist() == [10, 10, 10, 10, 11, 11, 11]
    assert log.step.tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert log.slot.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert log.item_id.tolist() == [3, 1, 5, 6, 2, 4, 7]
    assert log.clicked.tolist() == [False, True, False, False, False, False, True]
    assert log.consumed_time.tolist() == [0, 1.5, 0, 0, 0, 0, 0.25]
    assert np.isnan(log.propensity).all()
    assert set(log.policy) == {"mine"}
    time = np.array([[-0.5, -1.0, 9.0], [-1.0, 0.25, 9.0]], np.float32)  # of a click: 0, as in the reward
    choice = trajectory[fields.USER_RESPONSE].get(fields.CHOICE)
    negative = {**trajectory, fields.USER_RESPONSE: Value(choice=choice, consumed_time=time)}
    log = interactions_of(negative, None, policy="mine", first_user=10, num_users=2)
    assert log.consumed_time.tolist() == [0, 0, 0, 0, 0, 0, 0.25]
    assert log.clicked[1]
    joint, prefix = np.array([[0.1, 0.2, 1], [0.3, 0.4, 1]]), np.arange(1, 13).reshape(2, 3, 2) / 12
    log = interactions_of(trajectory, Propensities(joint, prefix, prefix / 2), policy="", first_user=0, num_users=2)
    assert log.propensity.tolist() == [0.1, 0.1, 0.3, 0.3, 0.2, 0.2, 0.4]
    np.testing.assert_allclose(log.propensity_prefix * 12, [1, 2, 7, 8, 3, 4, 9])
    np.testing.assert_allclose(log.propensity_item * 24, [1, 2, 7, 8, 3, 4, 9])


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(validation.InvalidInputError, match="is no run folder"):
        write_log(str(tmp_path), 5)
