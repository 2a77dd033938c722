"""Data flow of the default network: what its fields are computed from, and that drawing nothing finds the same."""

import functools

import pytest

from recsys_po_rl import corpus, fields, recommender, scoring
from recsys_po_rl.simulation import dataflow, seeding
from recsys_po_rl.simulation.dataflow import Read
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network


def flows(mode):
    model_ctor = functools.partial(scoring.AveragedHistoryModel, memory=("slates", "step"))
    network = create_interest_evolution_simulation_network(
        num_users=5, num_docs=7, num_topics=3, slate_size=2, history_length=4, corpus_seed=1,
        corpus_ctor=corpus.ReferenceCorpus,
        recommender_ctor=functools.partial(recommender.CollabFilteringRecommender, model_ctor=model_ctor),
    )  # fmt: skip
    runtime = SeededRuntime(network.variables, mode=mode)
    return {name: runtime.flow(name) for name in [var.name for var in network.variables]}


@pytest.fixture(scope="module")
def traced():
    return flows("graph")


def test_the_response_reads_interest_and_slate(traced):
    response = traced[fields.USER_RESPONSE]
    assert Read(fields.USER_STATE, fields.INTEREST, previous=False) in response.field_reads[fields.CHOICE]
    assert fields.SLATE_DOCS in response.draw_reads
    assert response.random_fields == [fields.CHOICE]
    assert not response.reads_weights


def test_the_slate_reads_weights_and_the_memory_of_its_recommender(traced):
    slate = traced[fields.SLATE_DOCS]
    assert slate.random_fields == [fields.DOC_RANKS]
    assert slate.reads_weights
    assert fields.USER_STATE not in slate.reads


def test_the_wanted_fields_need_what_they_are_computed_from(traced):
    needed = dataflow.needed(traced, [(fields.METRICS_STATE, fields.REWARD)])
    assert (fields.USER_STATE, fields.INTEREST) in needed.carried
    assert (fields.SLATE_DOCS, fields.DOC_ID) in needed.computed
    assert (fields.SLATE_DOCS, fields.DOC_TOPIC) not in needed.computed


@pytest.mark.parametrize("mode", ["graph", "eager"])
def test_placeholders_flow_as_draws_do(monkeypatch, traced, mode):
    monkeypatch.setattr(seeding, "placeholder_draws", seeding.seeded_draws)
    drawn = flows(mode)
    assert drawn.keys() == traced.keys()
    for name, flow in traced.items():
        other = drawn[name]._asdict()
        assert {key: value for key, value in flow._asdict().items() if key != "invariants"} == {
            key: value for key, value in other.items() if key != "invariants"
        }
