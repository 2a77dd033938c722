"""Form of evaluation.json: versions, files of 0.1.0, what each use of a file needs."""

import dataclasses
import json
import pathlib

import pytest

from recsys_po_rl.common import validation
from recsys_po_rl.evaluation.portrait import Portrait
from recsys_po_rl.run_folder import schema
from tests.support.run_folder import evaluation, policy, portrait

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


# environment.json as 0.1.0 wrote it, at the beginning and at the end of a run.
ENVIRONMENT_0_1_0 = {
    "run": "0123456789abcdef0123456789abcdef",
    "versions": {"recsys-po-rl": "0.1.0", "python": "3.11.2", "tensorflow": "2.15.0"},
    "seeds": [0],
    "machine": {"platform": "Linux-6.1", "processor": "x86_64", "cpu_count": 2},
    "command": ["run_simulation.py", "--output_dir", "runs/one"],
    "started": "2024-01-01T00:00:00+00:00",
    "corpus_seed": 0,
    "arguments": {"experiment.horizon": "100"},
}
FINISHED_0_1_0 = {**ENVIRONMENT_0_1_0, "finished": "2024-01-01T00:05:00+00:00", "files": ["config.gin"]}


@pytest.mark.parametrize("content", [ENVIRONMENT_0_1_0, FINISHED_0_1_0, {}, {"seeds": [0, 1], "newer": {"a": [1]}}])
def test_environments_are_read_and_written_unchanged(content):
    assert json.dumps(schema.Environment.from_json(content, "").to_json()) == json.dumps(content)


def with_own_names(content):
    """A portrait of a corpus with its own ids and topic names, as a table's."""
    topics = [{**topic, "name": name} for topic, name in zip(content["topics"], ("art", "war"))]
    policies = {
        name: {**shown, "documents_early": [{**doc, "document": "a1"} for doc in shown["documents_early"]]}
        for name, shown in content["policies"].items()
    }
    return {**content, "topics": topics, "policies": policies}


@pytest.mark.parametrize(
    "content",
    [portrait(), with_own_names(portrait()), {**portrait(), "topics": None}],
    ids=["0.1.0", "table", "moving"],
)
def test_portraits_are_read_and_written_unchanged(content):
    assert json.dumps(Portrait.from_json(content, "").to_json()) == json.dumps(content)


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        (Portrait, {"parts": [[1, 4], [5]]}, r"x: parts\[1\] must be a pair of slates, got \[5\]"),
        (Portrait, {"parts": [[0, 4]]}, r"x: parts\[0\] must be an integer between 1 and"),
        (Portrait, {"topics": [{}]}, r"x: topics\[0\] must be an object with topic, num_documents, mean_quality"),
        (Portrait, {"policies": {"learned": {}}}, r"x: policies.'learned' must be an object with num_users"),
        (schema.Environment, {"seeds": ["../../x"]}, r"x: seeds\[0\] must be an integer between 0 and"),
        (schema.Environment, {"machine": "x"}, "x: machine must be an object"),
        (schema.Environment, {"arguments": {"a": 7}}, "x: arguments.'a' must be a text, got 7"),
    ],
)
def test_a_wrong_form_names_the_field(record, change, message):
    content = {**(portrait() if record is Portrait else ENVIRONMENT_0_1_0), **change}
    with pytest.raises(validation.InvalidInputError, match=f"^{message}"):
        record.from_json(content, "x: ")


def test_a_document_of_a_table_has_a_text_or_an_integer_as_its_id():
    content = with_own_names(portrait())
    for document, is_valid in (("a1", True), (7, True), (True, False), (0.5, False), ([], False)):
        content["policies"]["learned"]["documents_early"][0]["document"] = document
        if is_valid:
            Portrait.from_json(content, "")
        else:
            with pytest.raises(validation.InvalidInputError, match="document must be an integer or a text"):
                Portrait.from_json(content, "")
