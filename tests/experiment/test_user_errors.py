"""Errors of users' code: one line that names where, then the frames of that code alone."""

import argparse
import functools
import sys

import gin
import pytest
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields, gin_config, recommender, simulation_config, user
from recsys_po_rl.cli import commands, modes
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import user_errors
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.training import loop
from recsys_po_rl.training.learner import PolicyGradientLearner

U, D, K, S, H = 4, 7, 3, 2, 5


def make_network(**options):
    sizes = dict(num_users=U, num_docs=D, num_topics=K, slate_size=S, history_length=H, corpus_seed=1)
    return simulation_config.create_interest_evolution_simulation_network(**{**sizes, **options})


class DividingUser(user.InterestEvolutionUser):
    def next_state(self, previous_state, user_response, slate_docs):
        self._slate_size // 0
        return super().next_state(previous_state, user_response, slate_docs)


class FailingUser(user.InterestEvolutionUser):
    """Fails in a way that means something else elsewhere."""

    fails_by = ""

    def next_state(self, previous_state, user_response, slate_docs):
        if self.fails_by == "exit":
            sys.exit(0)
        if self.fails_by == "wrong call":
            divided()
        if self.fails_by == "recursion":
            return self.next_state(previous_state, user_response, slate_docs)
        return super().next_state(previous_state, user_response, slate_docs)

    def next_response(self, previous_state, slate_docs):
        if self.fails_by == "operation":
            too_eager = tf.debugging.assert_less(previous_state.get(fields.INTEREST), -9.0, message="too eager")
            with tf.control_dependencies([] if too_eager is None else [too_eager]):
                return super().next_response(previous_state, slate_docs)
        return super().next_response(previous_state, slate_docs)


def divided(number):
    return number / 0


class UserOfUnknownInterest(user.InterestEvolutionUser):
    def next_state(self, previous_state, user_response, slate_docs):
        moved = super().next_state(previous_state, user_response, slate_docs)
        nan = moved.get(fields.INTEREST) * float("nan")
        return Value(interest=Value(state=nan, linear_update=moved.get("interest.linear_update")))


def error_of(call):
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_an_entity_that_raises_is_named_and_its_frames_shown_alone(mode):
    runtime = SeededRuntime(make_network(user_ctor=DividingUser).variables, mode=mode)
    report = user_errors.report(error_of(lambda: runtime.trajectory(3)))
    first, *frames = report.splitlines()
    assert first.startswith("error in 'user state' (entity DividingUser)")
    assert first.endswith("ZeroDivisionError: integer division or modulo by zero")
    assert frames[0] == "Traceback (most recent call last):"
    assert frames[-1].startswith("ZeroDivisionError")
    assert "self._slate_size // 0" in report
    assert "site-packages" not in report
    assert "recsys_po_rl/simulation/runtime.py" not in report


@pytest.mark.slow
def test_the_error_keeps_its_type_in_python():
    runtime = SeededRuntime(make_network(user_ctor=DividingUser).variables, mode="graph")
    with pytest.raises(ZeroDivisionError):
        runtime.trajectory(3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["graph", pytest.param("xla", marks=pytest.mark.slow)])
def test_a_nan_names_step_field_shape_and_entity(mode):
    runtime = SeededRuntime(make_network(user_ctor=UserOfUnknownInterest).variables, mode=mode)
    error = error_of(lambda: runtime.trajectory(3, record={fields.USER_STATE: [fields.INTEREST]}))
    assert isinstance(error, FloatingPointError)
    assert "NaN at step 1" in str(error)
    assert "'user state' (entity UserOfUnknownInterest), field 'interest.state' (float32 [4, 3])" in str(error)
    assert len(str(error).splitlines()) == 1


class NarrowScorer(tf.keras.Model):
    """Scores too few documents, unless there are as many users as in training."""

    def __init__(self, num_users, num_docs, doc_embed_dim, history_length):
        super().__init__()
        self._dense = tf.keras.layers.Dense(num_docs if num_users == U else num_docs - 1)

    def call(self, doc_id_history, c_time_history):
        return self._dense(c_time_history)


@pytest.mark.slow
def test_a_scorer_of_another_shape_at_another_batch_size_is_named():
    ctor = functools.partial(recommender.CollabFilteringRecommender, model_ctor=NarrowScorer)
    SeededRuntime(make_network(recommender_ctor=ctor).variables).trajectory(2)
    other = make_network(recommender_ctor=ctor, num_users=U + 1)
    error = error_of(lambda: SeededRuntime(other.variables).trajectory(2))
    assert isinstance(error, validation.WrongScoresError)
    assert "NarrowScorer must return scores of shape (5, 7) (users, documents), got (5, 6)" in str(error)
    assert user_errors.report(error).startswith("error in 'slate docs' (entity CollabFilteringRecommender): ")


def test_an_error_of_the_package_itself_is_not_reported_as_the_users():
    assert user_errors.report(error_of(lambda: int("x".join([])))) is not None  # this file is a user's
    assert user_errors.report(ValueError("raised nowhere")) is None


def run_mode(function, monkeypatch):
    monkeypatch.setitem(modes.MODES, "train_and_evaluate", lambda flags: function())
    return commands.run(argparse.Namespace(mode="train_and_evaluate"))


def test_on_the_command_line_the_status_is_1(monkeypatch, capsys):
    def fail():
        raise KeyError("lost")

    assert run_mode(fail, monkeypatch) == commands.FAILED
    assert capsys.readouterr().err.startswith("error: KeyError: 'lost'\nTraceback (most recent call last):\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fails_by", "says"),
    [
        ("exit", "'user state' (entity FailingUser): SystemExit: 0"),
        ("wrong call", "'user state' (entity FailingUser): TypeError: divided() missing 1 required"),
        ("recursion", "'user state' (entity FailingUser): RecursionError: maximum recursion depth exceeded"),
        ("operation", "'user response' (entity FailingUser) at step 0: InvalidArgumentError: "),
    ],
)
@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_errors_with_other_meanings_are_the_users_here(mode, fails_by, says, monkeypatch, capsys):
    monkeypatch.setattr(FailingUser, "fails_by", fails_by)

    @gin_config.wrong_calls_in_one_line
    def run():
        SeededRuntime(
            make_network(user_ctor=gin.external_configurable(FailingUser, module=mode)).variables, mode
        ).execute(2)

    status = run_mode(run, monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    first, *frames = [line for line in lines if not line.startswith("warning: CorpusWithTopicAndQuality")]
    assert status == commands.FAILED
    assert first.startswith(f"error in {says}")
    assert frames[0] == "Traceback (most recent call last):"
    assert any("test_user_errors.py" in frame for frame in frames)
    assert not any("site-packages" in frame or "recsys_po_rl/runtime" in frame for frame in frames)
    assert len(frames) < 50


@pytest.mark.slow
def test_a_failing_operation_names_the_training_rollout_too(monkeypatch):
    monkeypatch.setattr(FailingUser, "fails_by", "operation")
    learner = PolicyGradientLearner(make_network(user_ctor=FailingUser), H)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        learner.step(loop.keys_of_step(0, 1, 1), 0.0)
    assert user_errors.report(caught.value).startswith("error in 'user response' (entity FailingUser) at step 0: ")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise SystemExit", "SystemExit"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("class Own(BaseException): pass\nraise Own('mine')", "Own: mine"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_module_that_fails_on_import_is_one_line_and_status_2(body, says, tmp_path, monkeypatch, capsys):
    (tmp_path / "failing_module.py").write_text(f"{body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    status = run_mode(lambda: gin_config.parse([], ["import failing_module"]), monkeypatch)
    assert status == commands.BAD_INPUT
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "'failing_module' cannot be imported" in lines[0]
    assert says in lines[0]
