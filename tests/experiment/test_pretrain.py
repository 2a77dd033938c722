"""Mode pretrain, its folder and page, and experiments that start from it."""

import functools
import itertools
import json
import shutil

import numpy as np
import pytest

import recsys_po_rl
from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.cli import commands, parser
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import config as config_lib
from recsys_po_rl.experiment import experiment, resume, run, transfer
from recsys_po_rl.experiment import pretrain as pretrain_lib
from recsys_po_rl.experiment.pretrained import Pretrained
from recsys_po_rl.logs import writing
from recsys_po_rl.logs.interactions import Interactions
from recsys_po_rl.reporting import pages
from recsys_po_rl.run_folder import layout, policy_file, pretraining_file
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from tests.support.bad_inputs import RUN

D = 9  # documents of `RUN`
MODEL = "recsys_po_rl.CollabFilteringRecommender.model_ctor = @recsys_po_rl.CollabFilteringModel"
SPREAD = "recsys_po_rl.CollabFilteringModel.proposal_stddev = 0.1"
BINDINGS = [value for flag, value in itertools.pairwise(RUN) if flag == "--gin_bindings"]
FILES = [value for flag, value in itertools.pairwise(RUN) if flag == "--gin_files"]


def small_log(num_docs=D, with_propensities=True, num_users=80, num_steps=6):
    """The next document is 2 further than the last one, around a circle."""
    user, step = (column.ravel() for column in np.indices((num_users, num_steps)))
    docs = (user + 2 * step) % num_docs + 1
    num_rows = len(user)
    return Interactions(
        user.astype(np.int64), step.astype(np.int32), np.zeros(num_rows, np.int32), docs.astype(np.int32),
        np.ones(num_rows, bool), np.ones(num_rows, np.float32),
        propensity_item=np.full(num_rows, 0.1) if with_propensities else None,
    )  # fmt: skip


def write(path, log):
    with writing.InteractionWriter(str(path)) as writer:
        writer.write(log)
    return str(path)


def flags(*arguments):
    return parser.parse_flags([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a finished pretraining."""
    parent = tmp_path_factory.mktemp("pretraining")
    log = write(parent / "log.parquet", small_log())
    bindings = [
        MODEL, SPREAD, "recsys_po_rl.pretrain.num_epochs = 12", "recsys_po_rl.pretrain.batch_size = 32",
        "recsys_po_rl.pretrain.inverse_propensity = True", "recsys_po_rl.pretrain.patience = 12",
        "tf.keras.optimizers.Adam.learning_rate = 0.02",
        "recsys_po_rl.pretrain.optimizer = @tf.keras.optimizers.Adam",
    ]  # fmt: skip
    more = [part for binding in bindings for part in ("--gin_bindings", binding)]
    with gin_state.isolated():
        assert commands.run(flags("--mode", "pretrain", log, *RUN, *more, "--output_dir", parent / "pre")) == 0
    return parent / "pre"


@pytest.mark.slow
def test_the_folder_has_the_form_of_a_run(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.gin", "operative_config.gin", "environment.json", "pretraining.json", "pretraining.csv", "timings.json",
        "policy.keras", "report.html",
    }  # fmt: skip
    record = pretraining_file.read(str(folder))
    assert record.scorer == "CollabFilteringModel"
    assert record.log.num_rows == record.log.num_clicks == 480
    assert record.log.num_users.training + record.log.num_users.validation + record.log.num_users.test == 80
    assert record.weights == policy_file.weights_hash(str(folder))
    assert record.inverse_propensity.share_clipped == 0.0
    np.testing.assert_allclose(record.inverse_propensity.effective_sample_size, 6 * record.log.num_users.training)
    rows = (folder / "pretraining.csv").read_text().splitlines()
    assert rows[0] == "epoch,loss,validation_loss,elapsed_seconds"
    losses = [float(row.split(",")[2]) for row in rows[1:]]
    assert record.num_epochs == len(losses)
    assert record.best_epoch == np.argmin(losses) + 1
    # The first of 6 documents is a guess.
    assert record.measures["scorer"]["ndcg_at_5"].mean > 0.8
    assert record.scorer_minus["popularity"]["ndcg_at_5"].interval95[0] > 0.1
    assert json.loads((folder / "environment.json").read_text())["arguments"]["pretrain.batch_size"] == "32"
    assert "finished" in json.loads((folder / "environment.json").read_text())


@pytest.mark.slow
def test_console_and_page_show_the_same_numbers(folder, tmp_path, capsys):
    record = pretraining_file.read(str(folder))
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "report.html").unlink()
    assert commands.run(flags("--mode", "report", copy)) == 0
    page = (copy / "report.html").read_text()
    table = pretrain_lib.pretraining_text.table(record)
    entry = record.measures["scorer"]["ndcg_at_5"]
    shown = f"{entry.mean:.3f} [{entry.interval95[0]:.3f}, {entry.interval95[1]:.3f}]"
    assert shown in table
    assert shown in page
    assert "scorer minus popularity" in page
    capsys.readouterr()


@pytest.mark.slow
def test_damaged_records_are_one_line(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = json.loads((copy / "pretraining.json").read_text())
    for key, value, says in (
        ("schema_version", 99, "written by a later version"),
        ("weights", 3, "weights must be a text, got 3"),
        ("num_docs", -1, "num_docs must be an integer between 1"),
        ("measures", {"scorer": 3}, "must be an object"),
    ):
        (copy / "pretraining.json").write_text(json.dumps({**content, key: value}))
        with pytest.raises(validation.InvalidInputError, match=says) as caught:
            pages.report(str(copy))
        assert "\n" not in str(caught.value)
        with pytest.raises(validation.InvalidInputError, match=says):
            Pretrained(str(copy))


@pytest.mark.slow
def test_the_policy_can_be_loaded(folder):
    policy = recsys_po_rl.load_policy(str(folder))
    assert policy.scorer.num_docs == D


def network_ctor(folder, **changes):
    """A network constructor as in the configuration of the pretraining."""
    scorer = recsys_po_rl.load_policy(str(folder)).scorer.get_config()
    sizes = {"num_docs": D, "num_topics": 4, "history_length": scorer["history_length"], **changes}
    return functools.partial(create_interest_evolution_simulation_network, **sizes)


@pytest.mark.slow
def test_another_scorer_is_refused(folder):
    def refusal(*bindings, **changes):
        with gin_state.isolated():
            gin_config.parse([], [SPREAD, *bindings])
            with pytest.raises(validation.InvalidInputError) as caught:
                Pretrained(str(folder)).validate(network_ctor(folder, **changes))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    with gin_state.isolated():
        gin_config.parse([], [SPREAD, "recsys_po_rl.CollabFilteringRecommender.doc_embed_dim = 32"])
        Pretrained(str(folder)).validate(network_ctor(folder))
    assert "a scorer with num_docs = 9, here it is 8" in refusal(num_docs=8)
    assert "a scorer with history_length = 15, here it is 4" in refusal(history_length=4)
    assert "mask_null_documents = False, here it is True" in refusal(
        "recsys_po_rl.CollabFilteringModel.mask_null_documents = True"
    )
    model = "recsys_po_rl.CollabFilteringRecommender.model_ctor = @recsys_po_rl.GRUModel"
    assert "holds the scorer 'recsys_po_rl>CollabFilteringModel', here it is 'recsys_po_rl>GRUModel'" in refusal(model)
    recommender = (
        "recsys_po_rl.create_interest_evolution_simulation_network.recommender_ctor = "
        "@recsys_po_rl.UniformRandomRecommender"
    )
    assert "UniformRandomRecommender has no scorer" in refusal(recommender)


def of_experiment(folder, *more, **given):
    """Run the experiment of `RUN` from the pretraining, or from the start with `None`."""
    with gin_state.isolated():
        bound = [] if folder is None else [f"recsys_po_rl.experiment.pretrained = '{folder}'"]
        gin_config.parse(FILES, [*BINDINGS, MODEL, SPREAD, *bound, *more])
        return experiment(quiet=True, **given)


@pytest.mark.slow
def test_an_experiment_starts_from_a_pretraining_by_one_binding(folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    result = of_experiment(moved, "recsys_po_rl.experiment.num_training_steps = 0", output_dir=str(tmp_path / "run"))
    pretrained = recsys_po_rl.load_policy(str(folder)).scorer.get_weights()
    learned = recsys_po_rl.load_policy(str(tmp_path / "run")).scorer.get_weights()
    for before, after in zip(pretrained, learned, strict=True):
        np.testing.assert_array_equal(before, after)
    details = result.evaluation["policies"]["learned"]["details"]
    assert details["warm_start"] == "pretrained"
    assert details["weights"] == policy_file.weights_hash(str(folder))
    # Resuming: the folder may have another path, not other weights.
    arguments = json.loads((tmp_path / "run" / "environment.json").read_text())["arguments"]
    assert details["weights"] in arguments["experiment.warm_start"]
    options = {"output_dir": str(tmp_path / "run"), "resume": True}
    steps = "recsys_po_rl.experiment.num_training_steps = 0"
    assert of_experiment(folder, steps, **options).evaluation == result.evaluation
    with pytest.raises(validation.InvalidInputError, match=r"experiment\.warm_start was Pretrained.*, is not bound"):
        of_experiment(None, steps, **options)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    scorer = recsys_po_rl.load_policy(str(folder)).scorer
    scorer.set_weights([2.0 * weight for weight in scorer.get_weights()])
    scorer.save(other / layout.POLICY)
    with pytest.raises(validation.InvalidInputError, match=r"experiment\.warm_start was Pretrained.*, is Pretrained"):
        of_experiment(other, steps, **options)
    # The run can be evaluated without the pretraining.
    shutil.rmtree(moved)
    evaluated = transfer.evaluate(str(tmp_path / "run"), output_dir=str(tmp_path / "again"), quiet=True)
    assert evaluated.evaluation["policies"]["learned"]["mean"] == result.evaluation["policies"]["learned"]["mean"]


@pytest.mark.slow
def test_weights_that_change_after_the_start_are_refused(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    start = Pretrained(str(copy))
    scorer = recsys_po_rl.load_policy(str(folder)).scorer
    scorer.set_weights([2.0 * weight for weight in scorer.get_weights()])
    scorer.save(copy / layout.POLICY)
    with pytest.raises(validation.InvalidInputError, match="have changed since the experiment was started"):
        start(network_ctor(folder)(num_users=1, corpus_seed=0), None, 1)


@pytest.mark.slow
def test_the_warm_start_is_part_of_the_configuration(folder):
    with gin_state.isolated():
        gin_config.parse(FILES, [*BINDINGS, MODEL, SPREAD])
        given = config_lib.bound(run.experiment)
        from_scratch = config_lib.validated(**given).fingerprint
        pretrained = config_lib.validated(**{**given, "pretrained": str(folder)}).fingerprint
        assert "experiment.warm_start" not in from_scratch
        assert policy_file.weights_hash(str(folder)) in pretrained["experiment.warm_start"]
        as_constructor = {**given, "warm_start_ctor": functools.partial(Pretrained, str(folder))}
        assert config_lib.validated(**as_constructor).fingerprint == pretrained
    assert "experiment.pretrained" in resume.FREE


def refused(tmp_path, log, *bindings):
    """Return the line with which a pretraining is refused; nothing may be written."""
    with gin_state.isolated():
        gin_config.parse(FILES, [*BINDINGS, MODEL, SPREAD, *bindings])
        with pytest.raises(validation.InvalidInputError) as caught:
            pretrain_lib.pretrain(log, output_dir=str(tmp_path / "pre"), quiet=True)
    assert not (tmp_path / "pre").exists()
    return gin_config.first_line(caught.value)


def test_bad_logs_are_one_line(tmp_path):
    assert "there is no file 'no_such.csv'" in refused(tmp_path, "no_such.csv")
    other = write(tmp_path / "other.parquet", small_log(num_docs=D + 1))
    assert "unknown document" in refused(tmp_path, other)
    few = write(tmp_path / "few.parquet", small_log(num_users=3))
    assert "the log has 3 users with a click" in refused(tmp_path, few)
    none = write(tmp_path / "none.parquet", small_log(with_propensities=False))
    weighted = "recsys_po_rl.pretrain.inverse_propensity = True"
    assert "propensity_item of every click, 480 of 480 clicks lack it" in refused(tmp_path, none, weighted)


def test_an_output_folder_with_a_run_is_refused(tmp_path):
    (tmp_path / "pre").mkdir()
    (tmp_path / "pre" / "pretraining.json").write_text("{}")
    with pytest.raises(validation.InvalidInputError, match=r"already holds a run \(pretraining.json\)"):
        pretrain_lib.pretrain("no_such.csv", output_dir=str(tmp_path / "pre"), quiet=True)
