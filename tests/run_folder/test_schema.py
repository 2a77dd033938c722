"""Form of evaluation.json: versions, files of 0.1.0, what each use of a file needs."""

import dataclasses
import json
import pathlib

import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.run_folder import schema
from tests.support.run_folder import evaluation, policy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
KEPT = sorted((ROOT / "benchmarks" / "results" / "learning").glob("*/evaluation.json"))
KEPT = [path for path in KEPT if path.parent.name != "upstream_code"]  # a file of another program
LEAD = "evaluation.json has not the form that this project writes: "


def read(folder, content):
    (folder / "evaluation.json").write_text(json.dumps(content))
    return schema.read(str(folder / "evaluation.json"))


def without_versions(content):
    """Content without the version, at the top and by seed."""
    per_seed = [without_versions(of_seed) for of_seed in content.get("per_seed", [])]
    rest = {key: value for key, value in content.items() if key != "schema_version"}
    return {**rest, "per_seed": per_seed} if per_seed else rest


@pytest.mark.parametrize("path", KEPT, ids=[path.parent.name for path in KEPT])
def test_files_without_a_version_are_read_and_written_unchanged(path):
    content = json.loads(path.read_text())
    written = schema.read(str(path)).to_json()
    assert next(iter(written)) == "schema_version"
    assert written["schema_version"] == schema.SCHEMA_VERSION
    assert without_versions(written) == without_versions(content)


def test_a_later_version_is_refused_with_both_versions(tmp_path):
    for content in ({"schema_version": 2}, {**evaluation(), "schema_version": 2, "policies": 3}):
        with pytest.raises(validation.InvalidInputError) as raised:
            read(tmp_path, content)
        assert str(raised.value) == (
            f"{LEAD}schema_version is 2, written by a later version of this project; this version reads 1"
        )
    for wrong in ("1", 0, 1.0, True, None):
        with pytest.raises(validation.InvalidInputError, match="schema_version must be an integer between 1 and"):
            read(tmp_path, {**evaluation(), "schema_version": wrong})


def test_unknown_keys_are_kept(tmp_path):
    content = {**evaluation(), "schema_version": 1, "new": [{}]}
    content["policies"]["learned"]["newer"] = {"a": 1}
    read_again = read(tmp_path, content)
    assert read_again.others == {"new": [{}]}
    assert read_again.to_json() == content


def test_measures_without_values_are_null(tmp_path):
    lost = policy(20.0, 60.0)
    lost["quarters"]["click_rate"] = lost["quarters_interval95"]["click_rate"] = None
    lost["quarters"]["interest_drift"][0] = lost["quarters_interval95"]["interest_drift"][0] = None
    content = {**evaluation(), "schema_version": 1}
    content["policies"]["uniform_random"] = lost
    assert read(tmp_path, content).to_json() == content


def test_an_evaluation_elsewhere_says_that_the_trainings_own_is_unknown():
    here = schema.Evaluation(policies={}, trained_seed=3)
    assert here.to_json()["learned_where_it_was_trained"] is None
    assert "learned_where_it_was_trained" not in schema.Evaluation(policies={}).to_json()


@pytest.mark.parametrize("key", ["seed", "corpus_seed", "horizon"])
def test_comparisons_need_seeds_and_horizon(key):
    whole = schema.from_json(evaluation(), "evaluation.json")
    schema.raise_if_not_comparable(whole, "evaluation.json")
    with pytest.raises(validation.InvalidInputError, match=f"{LEAD}it lacks {key}"):
        schema.raise_if_not_comparable(dataclasses.replace(whole, **{key: None}), "evaluation.json")
    with pytest.raises(validation.InvalidInputError, match=f"{LEAD}it has no policies"):
        schema.raise_if_not_comparable(dataclasses.replace(whole, policies={}), "evaluation.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: of.pop("horizon"), "it lacks horizon"),
        (lambda of: of.update(policies={}), "it has no policies"),
        (lambda of: of["policies"]["learned"].update(num_seeds=2), "policies.'uniform_random' lacks num_seeds"),
        (
            lambda of: of["price_of_partial_observability"]["policies"]["learned"].update(share_interval95=None),
            "the price of 'learned' lacks its share of the gap",
        ),
        (
            lambda of: of["price_of_partial_observability"].update(gap=None),
            "price_of_partial_observability lacks gap or differences",
        ),
    ],
)
def test_tables_need_numbers(change, said):
    content = evaluation()
    schema.raise_if_not_shown(schema.from_json(content, "evaluation.json"), "evaluation.json")
    change(content)
    with pytest.raises(validation.InvalidInputError) as raised:
        schema.raise_if_not_shown(schema.from_json(content, "evaluation.json"), "evaluation.json")
    assert str(raised.value) == f"{LEAD}{said}"
