"""The Gymnasium environments keep Gymnasium's contracts, and are the experiment's world."""

import gin
import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import recsys_po_rl.interop  # noqa: F401  (registers the environments)
from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.interop.gymnasium import InterestEvolutionEnv, InterestEvolutionVectorEnv
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.user import InterestEvolutionUser
from tests.support.vector_checker import check_vector_env

ID = "recsys_po_rl/InterestEvolution-v0"
NETWORK = "recsys_po_rl.create_interest_evolution_simulation_network"
HORIZON, NUM_DOCS, NUM_TOPICS, SLATE_SIZE, HISTORY = 5, 7, 4, 2, 3
SMALL = [
    f"recsys_po_rl.experiment.horizon = {HORIZON}",
    f"{NETWORK}.num_docs = {NUM_DOCS}",
    f"{NETWORK}.num_topics = {NUM_TOPICS}",
    f"{NETWORK}.history_length = {HISTORY}",
]


def make(num_envs=3, mode="graph", **options):
    return gymnasium.make_vec(ID, num_envs=num_envs, mode=mode, **{"gin_bindings": SMALL, **options})


@pytest.fixture(scope="module")
def env():
    return make()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_the_environment_of_one_user_passes_gymnasiums_check():
    check_env(gymnasium.make(ID, gin_bindings=SMALL, mode="graph").unwrapped)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_envs", "autoreset"),
    [
        (1, AutoresetMode.NEXT_STEP),
        (2, AutoresetMode.SAME_STEP),
        (2, AutoresetMode.DISABLED),
        (1000, AutoresetMode.NEXT_STEP),
        (1000, AutoresetMode.SAME_STEP),
    ],
)
def test_the_environment_of_many_users_passes_the_check(num_envs, autoreset):
    full_information = autoreset is AutoresetMode.SAME_STEP
    truncate = autoreset is AutoresetMode.DISABLED
    checked = make(num_envs, autoreset_mode=autoreset.name, full_information=full_information, truncate=truncate)
    assert checked.metadata["autoreset_mode"] is autoreset
    check_vector_env(checked, HORIZON)


def test_the_default_is_the_default_experiments_world():
    env = gymnasium.make_vec(ID, num_envs=2)
    assert (env.horizon, env.single_action_space.nvec.tolist()) == (100, [100, 100])
    assert env.single_observation_space["doc_history"].shape == (15,)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_a_step_is_observed(env):
    observation, info = env.reset(seed=4)
    assert not observation["slate"].any()
    assert (observation["clicked"] == SLATE_SIZE).all()
    assert set(info) == {"duplicates", "_duplicates"}
    clicks = 0
    for step in range(1, HORIZON + 1):
        actions = np.array([[step, 0], [1, 2], [6, 3]])
        before = observation
        observation, rewards, terminated, truncated, info = env.step(actions)
        np.testing.assert_array_equal(observation["slate"], actions + 1)
        clicked = observation["clicked"] < SLATE_SIZE
        clicks += clicked.sum()
        np.testing.assert_array_equal(observation["step"], step)
        np.testing.assert_allclose(observation["consumed_time"][:, 0], rewards)
        np.testing.assert_array_equal(rewards > 0, clicked)
        for user in range(3):
            if clicked[user]:
                consumed = observation["slate"][user, observation["clicked"][user]]
                assert observation["doc_history"][user, -1] == consumed
                assert observation["time_history"][user, -1] == observation["consumed_time"][user, 0]
            else:
                np.testing.assert_array_equal(observation["doc_history"][user], before["doc_history"][user])
        assert not truncated.any()
        assert terminated.all() == (step == HORIZON)
        assert not info["duplicates"].any()
    assert clicks > 0


def test_a_document_named_twice_is_shown_once(env):
    env.reset(seed=0)
    for _ in range(HORIZON):
        observation, _, _, _, info = env.step(np.array([[5, 5], [5, 4], [0, 0]]))
        np.testing.assert_array_equal(info["duplicates"], [1, 0, 1])
        np.testing.assert_array_equal(observation["slate"], [[6, 0], [6, 5], [1, 0]])
        assert (observation["clicked"][[0, 2]] != 1).all()


@pytest.mark.slow
def test_episode_statistics_are_those_of_the_evaluation():
    num_envs, num_batches, seed = 4, 3, 9
    slate = [2, 5]
    env = RecordEpisodeStatistics(make(num_envs, stream="evaluation"), buffer_length=num_envs * num_batches)
    env.reset(seed=seed)
    for _ in range(num_batches * (HORIZON + 1) - 1):
        env.step(np.tile(slate, (num_envs, 1)))
    gin_config.parse(["experiments/default.gin"], SMALL)
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

    network = create_interest_evolution_simulation_network(
        num_users=num_envs,
        corpus_seed=0,
        recommender_ctor=lambda config: FixedSlateRecommender(config, doc_ids=[doc + 1 for doc in slate]),
    )
    outcome = evaluator.evaluate(
        SeededRuntime(network.variables, mode="graph"), HORIZON, num_envs * num_batches, num_envs, seed
    )
    np.testing.assert_allclose(np.array(env.return_queue), outcome.total, rtol=1e-6)


@pytest.mark.slow
def test_the_interest_is_shown_in_info_alone():
    env = make(full_information=True)
    observation, info = env.reset(seed=1)
    assert "interest" not in observation
    first = info["interest"]
    assert first.shape == (3, NUM_TOPICS)
    assert first.dtype == np.float32
    assert info["_interest"].all()
    for _ in range(3):
        *_, info = env.step(np.array([[0, 1]] * 3))
    assert np.abs(info["interest"] - first).max() > 0.0
    alone = gymnasium.make(ID, gin_bindings=SMALL, mode="graph", full_information=True)
    _, info = alone.reset(seed=1)
    assert info["interest"].shape == (NUM_TOPICS,)


def test_the_callers_configuration_is_neither_read_nor_changed():
    gin_config.parse([], ["recsys_po_rl.experiment.horizon = 3", f"{NETWORK}.num_docs = 40"])
    before = gin.config_str()
    env = make()
    assert (env.horizon, env.single_action_space.nvec.tolist()) == (HORIZON, [NUM_DOCS] * SLATE_SIZE)
    assert gin.config_str() == before


@gin.configurable(module="test_gymnasium")
def bias_of_every_document(bias=0.0):
    return bias


@gin.configurable(module="test_gymnasium")
class BiasedUser(InterestEvolutionUser):
    """User who calls a gin configurable whenever a response is traced."""

    def document_logits(self, interest, slate_docs):
        return super().document_logits(interest, slate_docs) + bias_of_every_document()


def test_entities_that_read_gin_within_a_step_read_the_environments_own():
    own = [f"{NETWORK}.user_ctor = @test_gymnasium.BiasedUser", "test_gymnasium.bias_of_every_document.bias = -1e9"]
    env = make(50, gin_bindings=[*SMALL, *own])
    gin_config.parse([], ["test_gymnasium.bias_of_every_document.bias = 9.0"])
    env.reset(seed=0)
    for _ in range(HORIZON):
        observation, *_ = env.step(np.tile([0, 1], (50, 1)))
        assert (observation["clicked"] == SLATE_SIZE).all()


@pytest.mark.parametrize("action", [3, [[0, 1]], [0, 1, 2]])
def test_an_action_of_one_user_is_named_by_its_own_shape(action):
    env = InterestEvolutionEnv(gin_bindings=SMALL, mode="eager")
    env.reset(seed=0)
    with pytest.raises(
        validation.InvalidTypeError, match=r"action must be integers of shape \(2,\), got int64 of shape"
    ):
        env.step(action)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_envs": 0}, "num_envs must be an integer of at least 1"),
        ({"autoreset_mode": "LATER"}, "autoreset_mode must be one of NEXT_STEP, SAME_STEP, DISABLED, got 'LATER'"),
        ({"mode": "jit"}, "mode must be one of"),
        ({"stream": 3}, "stream must be a text, got 3"),
        ({"corpus_seed": -1}, "corpus_seed must be"),
        ({"full_information": "yes"}, "full_information must be"),
        ({"truncate": 2}, "truncate must be"),
        ({"render_mode": "human"}, "render_mode must be None, got 'human'"),
        ({"gin_files": "default.gin"}, "gin_files must be a list of texts, got 'default.gin'"),
        ({"gin_files": ["nowhere.gin"]}, "no gin file 'nowhere.gin'"),
        ({"gin_bindings": ["recsys_po_rl.experiment.horizon = 0"]}, "experiment.horizon must be"),
        ({"gin_bindings": [f"{NETWORK}.slate_size = 200"]}, "slate_size must be at most num_docs"),
        ({"gin_bindings": ["recsys_po_rl.experiment.horizn = 3"]}, "horizn"),
    ],
)
def test_invalid_options_are_one_line(options, message):
    with pytest.raises(validation.InvalidInputError, match=message) as caught:
        InterestEvolutionVectorEnv(**{"mode": "graph", **options})
    assert "\n" not in gin_config.first_line(caught.value)


def test_unknown_options_are_named():
    with pytest.raises(validation.InvalidInputError, match=r"options: each must be one of .*, got 'horizon'"):
        InterestEvolutionEnv(horizon=3)
    with pytest.raises(TypeError, match="horizon"):
        InterestEvolutionVectorEnv(horizon=3)


def test_a_network_of_other_users_is_refused():
    with pytest.raises(validation.InvalidInputError, match=r"the network has 8 users and 3 are needed"):
        make(gin_bindings=[*SMALL, "recsys_po_rl.experiment.network_ctor = @eight_users"])


@gin.configurable
def eight_users(**options):
    from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network

    return create_interest_evolution_simulation_network(**{**options, "num_users": 8})


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((3, 3), int), r"actions must be integers of shape \(3, 2\), got int64 of shape \(3, 3\)"),
        (np.zeros((2, 2), int), r"got int64 of shape \(2, 2\)"),
        (np.zeros((3, 2)), r"actions must be integers of shape \(3, 2\), got float64"),
        ([[0, 1], [2], [3, 4]], r"actions must be integers of shape \(3, 2\): setting an array element"),
        ("slates", r"actions must be integers of shape \(3, 2\), got <U6"),
        (np.full((3, 2), 7), "actions must be indices of documents from 0 to 6, got 7"),
        (np.array([[0, 1], [0, -1], [2, 3]]), "actions must be indices of documents from 0 to 6, got -1"),
    ],
)
def test_invalid_actions_are_one_line_and_change_nothing(env, actions, message):
    env.reset(seed=0)
    with pytest.raises(validation.InvalidInputError, match=message):
        env.step(actions)
    observation, *_ = env.step(np.array([[0, 1]] * 3))
    assert (observation["step"] == 1).all()


def test_invalid_resets_and_steps_out_of_order_are_one_line():
    env = make(autoreset_mode="DISABLED", mode="eager")
    actions = np.array([[0, 1]] * 3)
    with pytest.raises(validation.InvalidInputError, match="call reset first"):
        env.step(actions)
    for arguments, message in (
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": [1, 2, 3]}, "seed must be one integer"),
        ({"options": {"speed": 1}}, "options: each must be one of reset_mask, got 'speed'"),
        ({"options": {"reset_mask": np.array([True, False, True])}}, "must be all true"),
    ):
        with pytest.raises(validation.InvalidInputError, match=message):
            env.reset(**arguments)
    env.reset()
    for _ in range(HORIZON):
        env.step(actions)
    with pytest.raises(validation.InvalidInputError, match="the episodes have ended after 5 steps: call reset"):
        env.step(actions)
    env.close()
    for call in (env.reset, lambda: env.step(actions)):
        with pytest.raises(validation.InvalidInputError, match="the environment is closed: make a new one"):
            call()


@pytest.mark.slow
def test_ids_of_documents_are_those_of_the_users_own_table(tmp_path):
    assert list(make(mode="eager").document_ids) == list(range(1, NUM_DOCS + 1))
    rows = [f"film {place},{'drama' if place % 2 else 'comedy'},0.3,2.0" for place in range(NUM_DOCS)]
    (tmp_path / "films.csv").write_text("doc_id,topic,quality,length\n" + "\n".join(rows))
    env = make(
        3,
        "graph",
        gin_bindings=[
            f"recsys_po_rl.experiment.horizon = {HORIZON}",
            f"{NETWORK}.corpus_ctor = @recsys_po_rl.TableCorpus",
            f"{NETWORK}.num_docs = None",
            f"{NETWORK}.num_topics = None",
            f"recsys_po_rl.TableCorpus.path = '{tmp_path / 'films.csv'}'",
        ],
    )
    assert list(env.document_ids) == [f"film {place}" for place in range(NUM_DOCS)]
    _, info = env.reset(seed=0)
    assert info["consumed_document"].tolist() == [None] * 3
    consumed = set()
    for _ in range(HORIZON):
        actions = np.array([[0, 1], [2, 3], [4, 5]])
        observation, *_, info = env.step(actions)
        for user, (clicked, document) in enumerate(zip(observation["clicked"], info["consumed_document"])):
            expected = f"film {actions[user, clicked]}" if clicked < SLATE_SIZE else None
            assert document == expected
            consumed.add(document)
    assert len(consumed) > 2
