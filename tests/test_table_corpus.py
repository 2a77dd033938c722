"""Corpora from tables: what is read, what is refused, and where the user's own ids come back."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import pathlib
import re
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys_po_rl import catalogue_corpus, fields, gin_config, simulation_config
from recsys_po_rl.catalogue_corpus import TableCorpus
from recsys_po_rl.common import table_files, validation
from recsys_po_rl.corpus import CorpusWithTopicAndQuality, ReferenceCorpus
from recsys_po_rl.evaluation import portrait
from recsys_po_rl.experiment import entity_parameters, evaluation_files, experiment, resume, transfer
from recsys_po_rl.reporting.html import users

D, K, F = 5, 3, 4  # documents, topics, features
COLUMNS = ["doc_id", "topic", "quality", "length"]
ROWS = [
    ["b", "war", 0.5, 2.0],
    ["a", "art", -1.0, 0.0],
    ["é, d", "zoo", 0.25, 1.5],
    ["7", "art", 1e-3, 3.0],
    ["x", "war", 0.0, 1.0],
]
FEATURES = np.arange(D * F, dtype=np.float64).reshape(D, F) / 7.0
SIZES = {"num_docs": None, "num_topics": None, "slate_size": 2, "num_users": 3}


def csv_text(rows=ROWS, columns=COLUMNS):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()


def written(tmp_path, content, name="films.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def changed(row, column, cell):
    """The rows with one other cell; the row counts from 1."""
    rows = [list(cells) for cells in ROWS]
    rows[row - 1][COLUMNS.index(column)] = cell
    return rows


def state_of(corpus):
    return {name: np.asarray(value) for name, value in corpus.initial_state().as_dict.items()}


def message(path, config=SIZES, **options):
    with pytest.raises(validation.InvalidInputError) as error:
        TableCorpus(config, path, **options)
    text, *by_gin = str(error.value).splitlines()
    assert [line.split(" '")[0].strip() for line in by_gin] == ["In call to configurable"]
    assert len(text) <= validation.MAX_MESSAGE
    return text


# What is read


def test_a_table_of_names_gives_documents_in_its_order(tmp_path):
    corpus = TableCorpus(SIZES, written(tmp_path, csv_text()))
    state = state_of(corpus)
    assert corpus.document_ids == ("b", "a", "é, d", "7", "x")
    assert corpus.topic_names == ("art", "war", "zoo")
    assert (corpus.num_docs, corpus.num_topics) == (D, K)
    np.testing.assert_array_equal(state[fields.DOC_ID], [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(state[fields.DOC_TOPIC], [1, 0, 2, 0, 1])
    np.testing.assert_array_equal(state[fields.DOC_QUALITY], np.float32([0.5, -1.0, 0.25, 1e-3, 0.0]))
    np.testing.assert_array_equal(state[fields.DOC_LENGTH], np.float32([2.0, 0.0, 1.5, 3.0, 1.0]))
    np.testing.assert_array_equal(state[fields.DOC_FEATURES], np.eye(K, dtype=np.float32)[[1, 0, 2, 0, 1]])
    assert {name: value.dtype.name for name, value in state.items()} == {
        "doc_id": "int32", "doc_topic": "int32", "doc_quality": "float32", "doc_features": "float32",
        "doc_length": "float32",
    }  # fmt: skip


def test_integers_as_ids_and_topics_with_columns_of_other_names(tmp_path):
    text = "k,v,t,u,v2,q,l\n9,1,0,5,2,.5,1\n-3,3,1,6,4,1e-1,1\n12,5,1,7,6,-2,1\n"
    corpus = TableCorpus(
        SIZES, written(tmp_path, text), id_column="k", topic_column="t",
        quality_column="q", length_column="l", feature_columns=["v2", "v"],
    )  # fmt: skip
    assert corpus.document_ids == (9, -3, 12)
    assert corpus.topic_names is None
    np.testing.assert_array_equal(state_of(corpus)[fields.DOC_FEATURES][1], [4.0, 3.0])


def test_ids_with_leading_zeros_stay_texts(tmp_path):
    rows = [[f"{7 + place:03}", *cells[1:]] for place, cells in enumerate(ROWS)]
    assert TableCorpus(SIZES, written(tmp_path, csv_text(rows))).document_ids[0] == "007"


def test_integer_topics_may_leave_gaps(tmp_path):
    rows = [[cells[0], topic, *cells[2:]] for cells, topic in zip(ROWS, (0, 3, 3, 0, 1))]
    path = written(tmp_path, csv_text(rows))
    assert TableCorpus(SIZES, path).num_topics == 4
    assert TableCorpus({**SIZES, "num_topics": 6}, path).num_topics == 6
    assert "topic 3 is out of range, 0 to 2" in message(path, {**SIZES, "num_topics": 3})


def as_parquet(tmp_path, dictionary=False, **changes):
    arrays = {name: [row[place] for row in ROWS] for place, name in enumerate(COLUMNS)}
    arrays.update({name: value for name, value in changes.items() if value is not None})
    for name, value in changes.items():
        if value is None:
            del arrays[name]
    table = pa.table(arrays)
    if dictionary:
        table = table.set_column(1, "topic", table.column("topic").dictionary_encode())
    path = str(tmp_path / "films.parquet")
    parquet.write_table(table, path, row_group_size=2)
    return path


@pytest.mark.parametrize("dictionary", [False, True])
def test_parquet_gives_the_same_world_as_csv(tmp_path, dictionary):
    of_csv = TableCorpus(SIZES, written(tmp_path, csv_text()))
    of_parquet = TableCorpus(SIZES, as_parquet(tmp_path, dictionary))
    assert of_parquet.document_ids == of_csv.document_ids
    assert of_parquet.content_hash == of_csv.content_hash
    for name, value in state_of(of_csv).items():
        np.testing.assert_array_equal(state_of(of_parquet)[name], value)


def test_columns_named_feature_are_the_features(tmp_path):
    names = [f"feature_{place}" for place in "dabc"]
    rows = [[*cells, *features] for cells, features in zip(ROWS, FEATURES.tolist())]
    corpus = TableCorpus(SIZES, written(tmp_path, csv_text(rows, [*COLUMNS, *names])))
    assert corpus.num_topics == F
    np.testing.assert_array_equal(state_of(corpus)[fields.DOC_FEATURES], FEATURES.astype(np.float32))


@pytest.mark.parametrize("order", ["C", "F"])
def test_embeddings_are_the_features(tmp_path, order):
    np.save(tmp_path / "films.npy", np.asarray(FEATURES, order=order))
    corpus = TableCorpus(SIZES, written(tmp_path, csv_text()), embeddings_path=str(tmp_path / "films.npy"))
    assert corpus.num_topics == F
    np.testing.assert_array_equal(state_of(corpus)[fields.DOC_FEATURES], FEATURES.astype(np.float32))


def test_a_byte_order_mark_quotes_and_windows_lines_are_read(tmp_path):
    text = "\ufeff" + csv_text().replace("\n", "\r\n")
    assert TableCorpus(SIZES, written(tmp_path, text)).document_ids == ("b", "a", "é, d", "7", "x")


# Faults


def test_the_first_ten_faults_stand_in_one_message(tmp_path):
    rows = [[f"film {place}", "war" if place % 2 else "art", "bad" if place > 3 else 1.0, -1.0] for place in range(20)]
    rows[1][0] = ""
    rows[2][0] = "film 0"
    text = message(written(tmp_path, csv_text(rows)))
    assert "has 38 faults, the first 10: row 1, column 'length': '-1.0' must be at least 0; row 2, " in text
    assert "row 2, column 'doc_id': is missing; " in text
    assert "row 3, column 'doc_id': 'film 0' stands in row 1 too; " in text
    assert "row 5, column 'quality': 'bad' is not a number" in text
    assert text.count("row ") - text.count("stands in row") == 10


@pytest.mark.parametrize(
    ("row", "column", "cell", "says"),
    [
        (2, "doc_id", "", "1 fault: row 2, column 'doc_id': is missing"),
        (5, "doc_id", "b", "1 fault: row 5, column 'doc_id': 'b' stands in row 1 too"),
        (3, "doc_id", "x" * 201, "row 3, column 'doc_id': has more than 200 characters"),
        (3, "doc_id", "a\tb", r"row 3, column 'doc_id': 'a\tb' holds a control character"),
        (4, "topic", "", "row 4, column 'topic': is missing"),
        (4, "topic", "12", "row 4, column 'topic': '12' is a number, other topics are names"),
        (1, "quality", "", "row 1, column 'quality': is missing"),
        (1, "quality", "nan", "row 1, column 'quality': 'nan' is not finite"),
        (1, "quality", "1e39", "row 1, column 'quality': '1e39' is not finite"),
        (5, "quality", "good", "row 5, column 'quality': 'good' is not a number"),
        (5, "length", "-0.5", "row 5, column 'length': '-0.5' must be at least 0"),
        (5, "length", "-inf", "row 5, column 'length': '-inf' is not finite"),
    ],
)
def test_a_fault_names_row_and_column(tmp_path, row, column, cell, says):
    assert says in message(written(tmp_path, csv_text(changed(row, column, cell))))


def test_a_name_among_integer_topics_is_the_fault(tmp_path):
    rows = [[cells[0], topic, *cells[2:]] for cells, topic in zip(ROWS, (0, 1, "art", "1.5", -1))]
    text = message(written(tmp_path, csv_text(rows)))
    assert "3 faults: row 3, column 'topic': 'art' is not an integer, as other topics are; row 4" in text
    assert "row 5, column 'topic': topic -1 is out of range, 0 to 4095" in text


def test_rows_of_other_lengths_are_faults(tmp_path):
    text = message(written(tmp_path, "doc_id,topic,quality,length\na,x,1,1\nb,y,1\nc,x,1,1,1\n"))
    assert text.endswith("2 faults: row 2: 3 cells where the header has 4; row 3: 5 cells where the header has 4")


def test_too_few_documents(tmp_path):
    assert "1 fault: too few documents: 1, a slate has 2" in message(written(tmp_path, csv_text(ROWS[:1])))
    assert "too few documents: 0, a slate has 2" in message(written(tmp_path, csv_text([])))


def test_sizes_that_do_not_agree_name_the_binding(tmp_path):
    path = written(tmp_path, csv_text())
    assert "num_docs is 100, but " in message(path, {**SIZES, "num_docs": 100})
    text = message(path, {**SIZES, "num_topics": 10})
    assert "num_topics is 10, but " in text
    assert "has 3 topics: bind recsys_po_rl.create_interest_evolution_simulation_network.num_topics = None, and" in text
    assert "3 different topics, but only 2 features or num_topics" in message(path, {**SIZES, "num_topics": 2})
    assert "config['num_docs'] must be an integer" in message(path, {**SIZES, "num_docs": "x"})


def test_one_topic_is_too_few(tmp_path):
    rows = [[cells[0], "art", *cells[2:]] for cells in ROWS]
    assert "gives num_topics = 1, at least 2 topics or features" in message(written(tmp_path, csv_text(rows)))


def test_embeddings_of_other_documents(tmp_path):
    path, npy = written(tmp_path, csv_text()), str(tmp_path / "films.npy")
    np.save(npy, FEATURES[:-1])
    assert "1 fault: 5 documents, but 4 rows of embeddings" in message(path, embeddings_path=npy)
    np.save(npy, np.where(FEATURES[2, 1] == FEATURES, np.nan, FEATURES))
    assert "row 3, column 'embeddings': nan is not finite" in message(path, embeddings_path=npy)
    np.save(npy, FEATURES[0])
    assert "must hold one row of numbers for each document, got the shape (4,)" in message(path, embeddings_path=npy)
    np.save(npy, np.zeros((D, 5000)))
    assert "5 documents with 5000 features are too many" in message(path, embeddings_path=npy)


class Executes:
    """Object whose pickle would run a command."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.array([Executes()], object), "it holds dtype|holds 'object'"),
        (np.zeros((D, F), complex), "it holds 'complex128', numbers are needed"),
        (np.zeros((D, F), bool), "it holds 'bool'"),
    ],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, monkeypatch, array, says):
    monkeypatch.chdir(tmp_path)
    np.save("films.npy", array, allow_pickle=True)
    text = message(written(tmp_path, csv_text()), embeddings_path="films.npy")
    assert any(part in text for part in says.split("|"))
    assert not (tmp_path / "unpickled").exists()


def npy(shape, values=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return stream.getvalue() + values


@pytest.mark.parametrize(
    "content",
    [b"", b"\x93NUMPY", b"PK\x03\x04", npy((10**12, 3)), npy((D, F), b"\0" * 3), npy((-1, 4)), b"\x93NUMPY\x09\x00ab"],
)
def test_damaged_arrays_are_one_line(tmp_path, content):
    path = written(tmp_path, content, "films.npy")
    assert "films.npy' cannot be read: " in message(written(tmp_path, csv_text()), embeddings_path=path)


def test_damaged_tables_are_one_line(tmp_path):
    whole = pathlib.Path(as_parquet(tmp_path)).read_bytes()
    for content in (b"", b"\xff\xfe\0", b"PAR1", whole[:-9], whole[:40] + whole[60:], csv_text().encode("latin-1")):
        assert "films" in message(written(tmp_path, content))
    for place in range(0, len(whole), 97):  # flipped bytes are refused, or change a value
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        with contextlib.suppress(validation.InvalidInputError):
            TableCorpus(SIZES, written(tmp_path, bytes(damaged)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quality": ["a"] * D}, "column 'quality': must hold numbers, it holds string"),
        ({"quality": [True] * D}, "column 'quality': must hold numbers, it holds bool"),
        ({"quality": [1.0, None, 1.0, 1.0, 1.0]}, "row 2, column 'quality': is missing"),
        ({"quality": [1.0, float("nan"), 1.0, 1.0, 1.0]}, "row 2, column 'quality': nan is not finite"),
        ({"doc_id": [1.0, 2.0, 3.0, 4.0, 5.0]}, "column 'doc_id': must hold texts or integers, it holds double"),
        ({"topic": [0, 1, None, 1, 0]}, "row 3, column 'topic': is missing"),
        ({"topic": [[0]] * D}, "column 'topic' holds list"),
        ({"length": None}, "lacks the column 'length' (length_column), it has 'doc_id', 'topic', 'quality'"),
    ],
)
def test_types_of_parquet(tmp_path, changes, says):
    assert says in message(as_parquet(tmp_path, **changes))


def test_a_text_that_would_unpack_to_gigabytes_is_refused(tmp_path):
    path = as_parquet(tmp_path, doc_id=["x" * 3_000_000] * D)
    assert "row 1, column 'doc_id': has more than 200 characters" in message(path)


def test_limits(tmp_path, monkeypatch):
    path = written(tmp_path, csv_text())
    monkeypatch.setattr(table_files, "MAX_ROWS", 4)
    assert "has 5 rows, at most 4 are allowed" in message(path)
    assert "has 5 rows, at most 4 are allowed" in message(as_parquet(tmp_path))
    monkeypatch.setattr(table_files, "MAX_TABLE_BYTES", 50)
    assert "has more than 50 bytes" in message(path)


def test_other_files_than_regular_ones(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "is no regular file" in message(str(tmp_path / "pipe"))
    assert "is no regular file" in message(str(tmp_path))
    assert "there is no file " in message(str(tmp_path / "none.csv"))


def test_arguments_of_the_wrong_kind(tmp_path):
    path = written(tmp_path, csv_text())
    assert message(None) == "TableCorpus: path must be the path of a CSV or Parquet file, got None"
    assert "quality_column must be the name of a column, got 3" in message(path, quality_column=3)
    assert "feature_columns must be a list of names of columns or None, got 'x'" in message(path, feature_columns="x")
    assert "feature_columns must be different" in message(path, feature_columns=["x", "x"])
    assert "embeddings_path must be the path of a .npy file or None" in message(path, embeddings_path=3)
    assert "exclude each other" in message(path, embeddings_path="x.npy", feature_columns=["quality"])
    assert "lacks the column 'name' (id_column), it has 'doc_id', 'topic'" in message(path, id_column="name")
    assert "has two columns 'quality'" in message(
        written(tmp_path, csv_text(columns=["doc_id", "topic", "quality", "quality"]))
    )


def test_a_missing_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert message(written(tmp_path, csv_text())) == (
        'TableCorpus: tables need pyarrow, which is not installed: pip install "recsys_po_rl[data]"'
    )


# In a network


def network_of(path, **options):
    return simulation_config.create_interest_evolution_simulation_network(
        **{"num_users": 3, "num_docs": None, "num_topics": None, **options},
        corpus_ctor=lambda config: TableCorpus(config, path),
    )


def test_sizes_follow_from_the_table(tmp_path):
    network = network_of(written(tmp_path, csv_text()))
    assert (network.config["num_docs"], network.config["num_topics"]) == (D, K)
    assert catalogue_corpus.document_ids(network.corpus)[2] == "é, d"
    parameters = entity_parameters.parameters(network.corpus, network.config)
    assert parameters == {"table": network.corpus.content_hash}


def test_a_slate_needs_as_many_documents(tmp_path):
    with pytest.raises(validation.InvalidInputError, match="too few documents: 5, a slate has 6"):
        network_of(written(tmp_path, csv_text()), slate_size=6)


@pytest.mark.parametrize("corpus_ctor", [CorpusWithTopicAndQuality, ReferenceCorpus])
def test_other_corpora_need_sizes(corpus_ctor):
    for size in ("num_docs", "num_topics"):
        with pytest.raises(
            validation.InvalidInputError, match=rf"{size}.* must be an integer of at least \d, got None"
        ):
            simulation_config.create_interest_evolution_simulation_network(
                corpus_seed=0, corpus_ctor=corpus_ctor, **{size: None}
            )


def test_a_corpus_without_sizes_of_its_own_is_named():
    class Sizeless(ReferenceCorpus):
        def __init__(self, config):
            super().__init__({**config, "num_docs": 7})

    with pytest.raises(validation.InvalidInputError, match="got None for Sizeless"):
        simulation_config.create_interest_evolution_simulation_network(
            num_docs=None, corpus_seed=0, corpus_ctor=Sizeless
        )


def test_other_contents_are_other_worlds(tmp_path):
    hashes = {
        TableCorpus(SIZES, written(tmp_path, csv_text(rows))).content_hash
        for rows in (ROWS, changed(1, "quality", 0.6), changed(1, "doc_id", "c"), changed(2, "topic", "war"))
    }
    assert len(hashes) == 4


def test_corpora_without_a_table_have_no_ids():
    corpus = ReferenceCorpus({"num_docs": 7, "num_topics": 3, "corpus_seed": 1})
    assert catalogue_corpus.document_ids(corpus) is None
    assert catalogue_corpus.topic_names(corpus) is None
    assert catalogue_corpus.content_hash(corpus) is None
    details = {"doc_ids": [1, 2], "topic": 1}
    assert evaluation_files.in_users_words(details, corpus) == details


def test_details_in_the_users_words(tmp_path):
    corpus = TableCorpus(SIZES, written(tmp_path, csv_text()))
    assert evaluation_files.in_users_words({"doc_ids": [5, 2], "topic": 2, "n": 1}, corpus) == {
        "doc_ids": [5, 2], "topic": 2, "n": 1, "documents": ["x", "a"], "topic_name": "zoo",
    }  # fmt: skip
    assert evaluation_files.in_users_words({"n": 1}, corpus) == {"n": 1}


def test_the_report_lists_the_users_own_ids():
    document = portrait.ShownDocument(doc_id=3, topic=1, quality=0.5, in_slates=0.5, click_rate=0.5)
    with_names = str(users._documents([dataclasses.replace(document, document="<é, d>")], "title", {1: "war"}))
    assert "&lt;é, d&gt;" in with_names
    assert "war" in with_names
    assert ">3<" in str(users._documents([document], "title", {}))


# In an experiment

GIN = """
import recsys_po_rl.catalogue_corpus
include 'experiments/default.gin'
include 'overlays/tiny.gin'
include 'runtime/eager.gin'
recsys_po_rl.create_interest_evolution_simulation_network.corpus_ctor = @recsys_po_rl.TableCorpus
recsys_po_rl.create_interest_evolution_simulation_network.num_docs = None
recsys_po_rl.create_interest_evolution_simulation_network.num_topics = None
recsys_po_rl.TableCorpus.path = '{path}'
recsys_po_rl.experiment.policies = [@recsys_po_rl.best_fixed_slate, @recsys_po_rl.best_fixed_topic]
recsys_po_rl.best_fixed_slate.rounds = [(2, 2)]
recsys_po_rl.best_fixed_topic.num_search_users = 12
recsys_po_rl.experiment.num_training_steps = {steps}
recsys_po_rl.experiment.checkpoint_every_steps = 1
recsys_po_rl.experiment.horizon = 2
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run over the table, its gin file, and the table."""
    folder = tmp_path_factory.mktemp("table")
    table = written(folder, csv_text())
    gin_file = written(folder, GIN.format(path=table, steps=1), "films.gin")
    gin_config.parse([gin_file], [])
    result = experiment(output_dir=str(folder / "run"), quiet=True)
    return folder, gin_file, result


@pytest.mark.slow
def test_the_users_ids_come_back(run):
    folder, _, result = run
    ids = [row[0] for row in ROWS]
    details = result.evaluation["policies"]["best_fixed_slate"]["details"]
    assert details["documents"] == [ids[doc_id - 1] for doc_id in details["doc_ids"]]
    topic = result.evaluation["policies"]["best_fixed_topic"]["details"]
    assert topic["topic_name"] == ["art", "war", "zoo"][topic["topic"]]
    portrait = json.loads((folder / "run" / "portrait.json").read_text())
    assert [entry["name"] for entry in portrait["topics"]] == ["art", "war", "zoo"]
    for of_policy in portrait["policies"].values():
        for document in (*of_policy["documents_early"], *of_policy["documents_late"]):
            assert document["document"] == ids[document["doc_id"] - 1]
    assert "é, d" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    table = result.evaluation["world"]["corpus.table"]
    assert table.startswith("5 documents, sha256 ")
    assert json.loads((folder / "run" / "environment.json").read_text())["table"] == table


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_table(run, tmp_path):
    folder, _, _ = run
    own = tmp_path / "run"
    environment = json.loads((folder / "run" / "environment.json").read_text())
    own.mkdir()
    (own / "environment.json").write_text(json.dumps(environment))
    resume.raise_if_other_table(str(own), environment["table"])
    resume.raise_if_other_table(str(tmp_path / "new"), "5 documents, sha256 0")
    for other in ("5 documents, sha256 0", None):
        with pytest.raises(validation.InvalidInputError, match="a run with another table of documents: it was 5 doc"):
            resume.raise_if_other_table(str(own), other)


@pytest.mark.slow
def test_an_evaluation_over_another_table_says_so(run, tmp_path):
    folder, _, result = run
    same = transfer.evaluate(str(folder / "run"), output_dir=str(tmp_path / "same"), quiet=True).evaluation
    assert same["policies"]["learned"]["mean"] == result.evaluation["policies"]["learned"]["mean"]
    assert same["changed"] == []
    table = folder / "films.csv"
    whole = table.read_text()
    try:
        table.write_text(csv_text(changed(1, "quality", 0.75)))
        other = transfer.evaluate(str(folder / "run"), output_dir=str(tmp_path / "other"), quiet=True).evaluation
        gin_config.parse([str(folder / "films.gin")], ["recsys_po_rl.experiment.num_training_steps = 1"])
    finally:
        table.write_text(whole)
    (entry,) = other["changed"]
    assert entry["name"] == "table of documents"
    assert entry["trained"] == result.evaluation["world"]["corpus.table"] != entry["evaluated"]


# docs/doors.md, section "Your own catalogue"


def blocks(root, language):
    section = (
        (root / "docs" / "doors.md").read_text(encoding="utf-8").split("## Your own catalogue")[1].split("\n## ")[0]
    )
    return re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def test_the_gin_lines_of_the_page_are_the_example(root):
    (shown,) = blocks(root, "gin")
    example = (root / "examples" / "film_catalogue.gin").read_text(encoding="utf-8")

    def statements(text):
        return [line for line in text.splitlines() if line and not line.startswith("#")]

    assert statements(shown) == statements(example)


def test_the_python_of_the_page_runs(root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(root, "python")
    exec(compile(code, "doors.md", "exec"), {})
    assert capsys.readouterr().out == "('tt001', 'tt002', 'tt003') ('comedy', 'drama')\n"
