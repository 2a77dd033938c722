"""Minari datasets of logs: the environment's own observations, Minari's own loader and checks."""

import sys

import gymnasium
import minari
import numpy as np
import pytest
from minari.utils import validate_datasets_to_combine

import recsys_po_rl.interop
from recsys_po_rl.common import validation
from recsys_po_rl.interop import minari as minari_door
from recsys_po_rl.interop.minari import to_minari
from recsys_po_rl.interop.spaces import spaces_of
from recsys_po_rl.logs import interactions, reading, writing
from tests.support.logs import log_of

ID = "recsys_po_rl/InterestEvolution-v0"
NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
USERS, HORIZON, NUM_DOCS, HISTORY, SLATE = 3, 4, 7, 2, 3
SMALL = [
    f"recsys_po_rl.experiment.horizon = {HORIZON}",
    f"{NETWORK}.num_docs = {NUM_DOCS}",
    f"{NETWORK}.num_topics = 2",
    f"{NETWORK}.history_length = {HISTORY}",
    f"{NETWORK}.slate_size = {SLATE}",
]
# Two users; the second slate of user 4 has an empty slot, and user 9 leaves after one slate.
BY_HAND = {
    "user_id": [4, 4, 4, 9, 9],
    "step": [0, 0, 1, 0, 0],
    "slot": [0, 1, 0, 0, 1],
    "item_id": [5, 2, 3, 1, 5],
    "clicked": [False, True, True, False, False],
    "consumed_time": [0, 1.5, 0.25, 0, 0],
    "propensity": [0.5, 0.5, 0.25, np.nan, np.nan],
    "propensity_prefix": [0.7, 0.5, 0.25, np.nan, np.nan],
    "policy": ["a", "a", "b", None, None],
}


@pytest.fixture(autouse=True)
def datasets_folder(tmp_path, monkeypatch):
    """Folder of Minari's datasets."""
    folder = tmp_path / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
    return folder


@pytest.fixture(scope="module")
def stepped():
    """A log, and for each user the observations, actions, rewards and ends of the environment that was stepped."""
    env = gymnasium.make_vec(ID, num_envs=USERS, gin_bindings=SMALL, mode="eager", autoreset_mode="DISABLED")
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=1)
    observations, actions, results, rows = [observation], [], [], []
    for step in range(HORIZON):
        action = rng.integers(0, NUM_DOCS, (USERS, SLATE))
        action[0, 1:] = action[0, 0]  # one document in all slots: two of them stay empty
        observation, *result, info = env.step(action)
        observations.append(observation)
        actions.append(action)
        results.append([*result, info["duplicates"]])
        for user, slot in np.argwhere(observation["slate"]):
            clicked = observation["clicked"][user] == slot
            time = observation["consumed_time"][user, 0] if clicked else 0
            rows.append((user, step, slot, observation["slate"][user, slot], clicked, time))
    log = log_of(dict(zip(interactions.REQUIRED, zip(*rows))))
    return log, observations, actions, results


def make(**options):
    return gymnasium.make(ID, gin_bindings=SMALL, mode="eager", **options)


@pytest.mark.slow
def test_episodes_are_those_of_the_stepped_environment(stepped):
    log, observations, actions, results = stepped
    dataset = to_minari(log, "stepped", env=make())
    assert isinstance(dataset, minari.MinariDataset)
    assert (dataset.total_episodes, dataset.total_steps) == (USERS, USERS * HORIZON)
    assert sum(duplicates.sum() for *_, duplicates in results) >= 2 * HORIZON
    for user, episode in enumerate(dataset):
        for name, values in episode.observations.items():
            expected = np.stack([observation[name][user] for observation in observations])
            np.testing.assert_array_equal(values, expected, err_msg=name)
            assert values.dtype == expected.dtype, name
        shown = np.array([action[user] for action in actions])
        is_first = np.array([[choice not in row[:slot] for slot, choice in enumerate(row)] for row in shown])
        np.testing.assert_array_equal(episode.actions[is_first], shown[is_first])
        for values, place in ((episode.rewards, 0), (episode.terminations, 1), (episode.truncations, 2)):
            np.testing.assert_array_equal(values, [result[place][user] for result in results])
        np.testing.assert_array_equal(episode.infos["duplicates"], [0, *(result[3][user] for result in results)])
        assert (episode.infos["user_id"] == user).all()
    assert episode.rewards.sum() > 0


@pytest.mark.slow
def test_actions_of_the_dataset_show_the_same_slates(stepped):
    log, observations, *_ = stepped
    dataset = to_minari(log, "again", env=make())
    env = gymnasium.make_vec(ID, num_envs=USERS, gin_bindings=SMALL, mode="eager", autoreset_mode="DISABLED")
    env.reset(seed=1)
    actions = np.stack([episode.actions for episode in dataset], axis=1)
    observation, *_ = env.step(actions[0])
    for name, values in observation.items():
        np.testing.assert_array_equal(values, observations[1][name], err_msg=name)


@pytest.mark.slow
def test_the_dataset_passes_minaris_checks_and_recovers_the_environment(stepped):
    to_minari(stepped[0], "checked", env=make(truncate=True), author="A", author_email="a@b.c", code_permalink="c")
    dataset = minari.load_dataset("recsys-po-rl/checked-v0")
    assert list(minari.list_local_datasets(compatible_minari_version=True)) == ["recsys-po-rl/checked-v0"]
    for episode in dataset.iterate_episodes():
        for step in range(HORIZON + 1):
            assert dataset.observation_space.contains(
                {name: values[step] for name, values in episode.observations.items()}
            )
        assert all(dataset.action_space.contains(action) for action in episode.actions)
        assert episode.truncations.tolist() == [False] * (HORIZON - 1) + [True]
        assert not episode.terminations.any()
    env = dataset.recover_environment()
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    assert env.spec.kwargs["gin_bindings"] == SMALL
    assert validate_datasets_to_combine([dataset, dataset]) == dataset.env_spec
    combined = minari.combine_datasets([dataset, dataset], "recsys-po-rl/twice-v0")
    assert combined.total_steps == 2 * dataset.total_steps
    assert [len(part) for part in minari.split_dataset(dataset, [1, 2], seed=0)] == [1, 2]
    metadata = dataset.storage.metadata
    assert (metadata["author"], metadata["author_email"], metadata["code_permalink"]) == ({"A"}, {"a@b.c"}, "c")


def test_a_log_by_hand():
    dataset = to_minari(log_of(BY_HAND), "hand", horizon=2, history_length=2, metadata={"seed": 3})
    first, second = dataset
    np.testing.assert_array_equal(first.observations["slate"], [[0, 0], [5, 2], [3, 0]])
    np.testing.assert_array_equal(first.observations["clicked"], [2, 1, 0])
    np.testing.assert_array_equal(first.observations["consumed_time"], [[0], [1.5], [0.25]])
    np.testing.assert_array_equal(first.observations["doc_history"], [[0, 0], [0, 2], [2, 3]])
    np.testing.assert_array_equal(first.observations["time_history"], [[0, 0], [0, 1.5], [1.5, 0.25]])
    np.testing.assert_array_equal(first.actions, [[4, 1], [2, 2]])
    np.testing.assert_array_equal(first.rewards, [1.5, 0.25])
    np.testing.assert_array_equal(first.terminations, [False, True])  # the horizon
    np.testing.assert_array_equal(second.truncations, [True])  # the end of the log
    assert not first.truncations.any()
    assert not second.terminations.any()
    np.testing.assert_array_equal(first.infos["propensity"], [np.nan, 0.5, 0.25])
    np.testing.assert_array_equal(first.infos["propensity_prefix"], [[np.nan] * 2, [0.7, 0.5], [0.25, np.nan]])
    assert np.isnan(second.infos["propensity"]).all()
    assert first.infos["policy"].tolist() == [b"", b"a", b"b"]
    assert second.infos["policy"].tolist() == [b"", b""]
    assert "propensity_item" not in first.infos
    assert first.infos["user_id"].tolist() == [4, 4, 4]
    metadata = dataset.storage.metadata
    assert metadata["recsys_po_rl"] == {
        "log": {"seed": 3},
        "sizes": {"num_docs": 5, "slate_size": 2, "horizon": 2, "history_length": 2},
    }
    assert metadata["algorithm_name"] == "a, b"
    assert metadata["description"] == "Interactions of 2 users with recommendations of a, b; each user is an episode."
    assert dataset.env_spec is None
    assert (dataset.observation_space, dataset.action_space) == spaces_of(5, 2, 2, history_length=2)


def test_without_a_known_horizon_episodes_are_cut_off():
    first, second = to_minari(log_of(BY_HAND), "unknown")
    assert (first.truncations.tolist(), second.truncations.tolist()) == ([False, True], [True])
    assert not first.terminations.any()
    assert first.observations["doc_history"].shape == (3, 15)


def test_files_are_read_in_chunks_with_their_metadata(tmp_path, monkeypatch, datasets_folder):
    monkeypatch.setattr(minari_door, "CHUNK_STEPS", 2)
    metadata = {"documents": {"num_docs": 11}, "slate_size": 3, "horizon": 6, "history_length": 4, "seed": 8}
    path = tmp_path / "log.parquet"
    with writing.InteractionWriter(path, metadata) as writer:
        writer.write(log_of(BY_HAND))
    whole = to_minari(path, "file")
    assert whole.storage.metadata["recsys_po_rl"]["log"] == metadata
    assert (whole.observation_space, whole.action_space) == spaces_of(11, 3, 6, history_length=4)
    opened = to_minari(reading.open_interactions(path, batch_rows=1), "opened", metadata=metadata)
    for one, other in zip(whole, opened):
        np.testing.assert_array_equal(one.observations["slate"], other.observations["slate"])
        np.testing.assert_array_equal(one.infos["propensity"], other.infos["propensity"])
        assert one.truncations[-1]
    assert opened.total_episodes == 2
    assert to_minari([path], "list", num_docs=12).action_space.nvec.tolist() == [12] * 3
    assert sorted(entry.name for entry in datasets_folder.iterdir()) == ["recsys-po-rl"]


def test_few_steps_are_held_in_memory(monkeypatch):
    monkeypatch.setattr(minari_door, "CHUNK_STEPS", 4)
    episodes = [[0] * length for length in (3, 2, 1, 1, 1, 1, 5, 2)]
    assert [sum(map(len, chunk)) for chunk in minari_door._chunks(iter(episodes))] == [5, 4, 5, 2]


def test_an_existing_dataset_is_never_overwritten(datasets_folder):
    to_minari(log_of(BY_HAND), "twice")
    before = minari.load_dataset("recsys-po-rl/twice-v0")[0].rewards
    with pytest.raises(validation.InvalidInputError, match="the dataset recsys-po-rl/twice-v0 exists already, in"):
        to_minari(log_of({**BY_HAND, "consumed_time": [0, 9, 9, 0, 0]}), "twice")
    np.testing.assert_array_equal(minari.load_dataset("recsys-po-rl/twice-v0")[0].rewards, before)
    assert [path.name for path in datasets_folder.iterdir()] == ["recsys-po-rl"]


def test_a_dataset_that_another_process_created_meanwhile_stays(monkeypatch, datasets_folder):
    original = minari_door._buffers

    def created_meanwhile(*arguments):
        other = datasets_folder / "recsys-po-rl" / "race-v0"
        other.mkdir()
        (other / "data").touch()
        return original(*arguments)

    monkeypatch.setattr(minari_door, "_buffers", created_meanwhile)
    with pytest.raises(validation.InvalidInputError, match="exists already"):
        to_minari(log_of(BY_HAND), "race")
    assert (datasets_folder / "recsys-po-rl" / "race-v0" / "data").is_file()
    assert [path.name for path in datasets_folder.iterdir()] == ["recsys-po-rl"]


def test_an_error_leaves_no_dataset(monkeypatch, datasets_folder):
    def failing(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(minari_door, "_buffers", failing)
    with pytest.raises(KeyboardInterrupt):
        to_minari(log_of(BY_HAND), "broken")
    assert minari.list_local_datasets() == {}
    assert [path.name for path in datasets_folder.iterdir()] == ["recsys-po-rl"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "file"))
    with pytest.raises(validation.InvalidInputError, match="the dataset recsys-po-rl/x-v0 cannot be written: "):
        to_minari(log_of(BY_HAND), "x")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_docs": 4}, "num_docs must be at least that of the log, 5, got 4"),
        ({"slate_size": 1}, "slate_size must be at least that of the log, 2, got 1"),
        ({"horizon": 1}, "horizon must be at least that of the log, 2, got 1"),
        ({"metadata": {"horizon": 1}}, "horizon must be at least that of the log, 2, got 1"),
        ({"metadata": {"horizon": "1"}}, "metadata: horizon must be an integer of at least 1, got '1'"),
        ({"metadata": {"documents": {"num_docs": 0}}}, "metadata: num_docs must be an integer of at least 1, got 0"),
        ({"history_length": 10_001}, "history_length must be at most 10000, got 10001"),
        ({"metadata": {"slate_size": 10_001}}, "slate_size must be at most 10000, got 10001"),
    ],
)
def test_sizes_that_contradict_the_log_are_one_line(options, message, datasets_folder):
    with pytest.raises(validation.InvalidInputError, match=message):
        to_minari(log_of(BY_HAND), "x", **options)
    assert list(datasets_folder.iterdir()) == []


def test_an_environment_of_another_kind_is_one_line():
    log = log_of(BY_HAND)
    for env in (gymnasium.make("CartPole-v1"), 3, recsys_po_rl.interop.gymnasium.InterestEvolutionEnv):
        with pytest.raises(validation.InvalidInputError, match=r"env must be made by gymnasium.make\('recsys_po_rl/"):
            to_minari(log, "x", env=env)
    with pytest.raises(validation.InvalidInputError, match="horizon must be None with env, whose own is used, got 3"):
        to_minari(log, "x", env=make(), horizon=3)
    with pytest.raises(validation.InvalidInputError, match="horizon must be at least that of the log, 5, got 4"):
        to_minari(log_of({**BY_HAND, "slot": [0] * 5, "step": [0, 1, 2, 3, 4], "user_id": [4] * 5}), "x", env=make())


@pytest.mark.parametrize("package", ["minari", "h5py"])
def test_a_missing_package_is_one_line(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(validation.InvalidInputError, match=r"datasets need minari, .*\"recsys_po_rl\[data\]\""):
        to_minari(log_of(BY_HAND), "x")
