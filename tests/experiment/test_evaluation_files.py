"""Files of an evaluation beside evaluation.json."""

import functools
import json

import numpy as np
import pytest

from recsys_po_rl import corpus, gin_config, simulation_config
from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.experiment import evaluation_files
from recsys_po_rl.policies.base import PolicyContext
from recsys_po_rl.policies.fixed_slate import FixedSlateRecommender
from recsys_po_rl.policies.uniform_random import UniformRandomRecommender
from recsys_po_rl.run_folder import layout, per_user
from recsys_po_rl.simulation.runtime import SeededRuntime

SIZES = {"num_topics": 3, "num_docs": 6, "slate_size": 2}
NUM_USERS, HORIZON = 12, 4


def make_context(corpus_ctor=corpus.ReferenceCorpus, **options):
    network_ctor = functools.partial(
        simulation_config.create_interest_evolution_simulation_network,
        corpus_ctor=corpus_ctor, corpus_seed=0, **SIZES, **options,
    )  # fmt: skip
    return PolicyContext(network_ctor, functools.partial(SeededRuntime, mode="eager"), SIZES, 1, HORIZON, NUM_USERS)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder, context = tmp_path_factory.mktemp("run"), make_context()
    files, outcomes = evaluation_files.EvaluationFiles(context, None), {}
    for name, ctor in {
        "uniform_random": UniformRandomRecommender,
        "fixed": functools.partial(FixedSlateRecommender, doc_ids=[2, 4]),
    }.items():
        runtime = context.runtime(context.network(recommender_ctor=ctor))
        outcomes[name] = evaluator.evaluate(runtime, HORIZON, 24, NUM_USERS, 1, reducer=files.portrait_of(name))
    files.write(str(folder), outcomes)
    return folder, context, outcomes


@pytest.mark.slow
def test_portraits_and_totals_are_those_of_the_evaluation(written):
    folder, context, outcomes = written
    content = json.loads((folder / layout.PORTRAIT).read_text())
    assert content["horizon"] == HORIZON
    assert content["parts"] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    qualities = context.documents().get("doc_quality").numpy()
    topics = context.documents().get("doc_topic").numpy()
    assert sum(topic["num_documents"] for topic in content["topics"]) == SIZES["num_docs"]
    there = [topic for topic in content["topics"] if topic["num_documents"]]
    for topic in there:
        assert topic["mean_quality"] == pytest.approx(qualities[topics == topic["topic"]].mean())
    assert list(content["policies"]) == list(outcomes)
    for name, outcome in outcomes.items():
        of_policy = content["policies"][name]
        assert HORIZON * np.mean(of_policy["users"]["all"]["reward_per_step"]["mean"]) == pytest.approx(
            outcome.total.mean(), rel=1e-4
        )
        assert {segment: of["num_users"] for segment, of in of_policy["segments"].items()} == {
            "all": 24, "toward_trash": 8, "between": 8, "toward_nutrition": 8,
        }  # fmt: skip
        np.testing.assert_array_equal(per_user.load(str(folder))[name], outcome.total.astype(np.float32))
    fixed = content["policies"]["fixed"]
    assert sorted(doc["doc_id"] for doc in fixed["documents_late"]) == [2, 4]
    segments = [of["segments"] for of in content["policies"].values()]
    assert segments[0] == segments[1]  # the same users


@pytest.mark.slow
def test_a_world_that_does_not_tell_its_documents_has_one_segment(tmp_path):
    context = make_context(corpus.CorpusWithTopicAndQuality, freeze_corpus=False)
    files = evaluation_files.EvaluationFiles(context, None)
    runtime = context.runtime(context.network(recommender_ctor=UniformRandomRecommender))
    outcome = evaluator.evaluate(runtime, HORIZON, 12, NUM_USERS, 1, reducer=files.portrait_of("uniform_random"))
    files.write(str(tmp_path), {"uniform_random": outcome})
    content = json.loads((tmp_path / layout.PORTRAIT).read_text())
    assert content["topics"] is None
    assert list(content["policies"]["uniform_random"]["users"]) == ["all"]


def test_the_world_is_sizes_entities_and_their_parameters():
    bound = "recsys_po_rl.create_interest_evolution_simulation_network.corpus_ctor = @recsys_po_rl.ReferenceCorpus"
    gin_config.parse([], ["recsys_po_rl.InterestEvolutionUser.interest_step_size = 0.3", bound])

    def world(**options):
        context = make_context(gin_config.gin.get_configurable("recsys_po_rl.ReferenceCorpus"), **options)
        network = context.network()
        return evaluation_files.world_of(network, context.runtime(network), context)

    found = world()
    assert found["user"] == "InterestEvolutionUser"
    assert (found["num_docs"], found["horizon"], found["evaluation_batch_size"]) == (6, HORIZON, NUM_USERS)
    assert found["runtime_mode"] == "eager"
    assert found["user.step_size.each"] == 0.3
    assert found["corpus.static_state.doc_length"] == 2.0
    assert found["corpus.static_state.doc_features"].startswith("float32 [6, 3] sha256 ")
    assert not any("Recommender" in name or "history" in name for name in found)
    assert world(history_length=3, recommender_ctor=UniformRandomRecommender) == found
    assert json.loads(json.dumps(found)) == found
