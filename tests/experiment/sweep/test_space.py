"""Space of a sweep: values that gin reads back, and refusals."""

import re

import gin
import pytest

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import experiment  # noqa: F401  (registers what is bound)
from recsys_po_rl.experiment.sweep import space
from recsys_po_rl.experiment.sweep.space import Choice, FloatRange, IntegerRange
from recsys_po_rl.scoring.gru import GRUModel

ADAM = "tf.keras.optimizers.Adam.learning_rate"
LEARNER = "recsys_po_rl.PolicyGradientLearner"


def test_gin_reads_the_values_of_a_trial():
    of_trial = {
        ADAM: (FloatRange(1e-4, 1.0, log=True), 0.1 + 0.2),
        "recsys_po_rl.AveragedHistoryModel.memory": (Choice([(), ("slates", "step")]), "('slates', 'step')"),
        "recsys_po_rl.CollabFilteringRecommender.model_ctor": (
            Choice(["@recsys_po_rl.GRUModel", None]),
            "@recsys_po_rl.GRUModel",
        ),
        "recsys_po_rl.LearnedValue.hidden_units": (IntegerRange(1, 9), 7),
        "few/recsys_po_rl.popular_by_clicks.num_log_users": (Choice([1, 2.5, "x y"]), "'x y'"),
    }
    checked = space.validated({name: distribution for name, (distribution, _) in of_trial.items()})
    gin_config.parse([], space.lines(checked, {name: value for name, (_, value) in of_trial.items()}))
    assert gin.query_parameter(ADAM) == 0.1 + 0.2
    assert gin.query_parameter("recsys_po_rl.AveragedHistoryModel.memory") == ("slates", "step")
    bound = gin.query_parameter("recsys_po_rl.CollabFilteringRecommender.model_ctor")
    assert bound.configurable.wrapped is GRUModel
    assert gin.query_parameter("recsys_po_rl.LearnedValue.hidden_units") == 7
    assert gin.query_parameter("few/recsys_po_rl.popular_by_clicks.num_log_users") == "x y"


def test_ends_are_the_bounds_or_all_choices():
    assert space.ends(FloatRange(0.5, 2).record()) == [0.5, 2.0]
    assert space.ends(IntegerRange(3, 5).record()) == [3, 5]
    assert space.ends(Choice(["a", 1.5, True]).record()) == ["'a'", "1.5", "True"]


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: FloatRange(), "FloatRange.low must be a finite number, got None"),
        (lambda: FloatRange(2.0, 1.0), "FloatRange.high must be a finite number above 2, got 1.0"),
        (lambda: FloatRange(1.0, 1.0), "FloatRange.high must be a finite number above 1, got 1.0"),
        (lambda: FloatRange(0.0, 1.0, log=True), "FloatRange.low must be a finite number above 0, got 0.0"),
        (lambda: IntegerRange(3, 3), "IntegerRange.high must be an integer of at least 4, got 3"),
        (lambda: IntegerRange(0, 3, log=True), "IntegerRange.low must be an integer of at least 1, got 0"),
        (lambda: IntegerRange(1.5, 3), "IntegerRange.low must be an integer of at least 0, got 1.5"),
        (lambda: Choice("ab"), "Choice.choices must be a list, got 'ab'"),
        (lambda: Choice([1]), r"Choice.choices must be 2 to 1000 different values, got \[1\]"),
        (lambda: Choice([1, 1]), r"Choice.choices must be 2 to 1000 different values, got \[1, 1\]"),
        (lambda: Choice([1, object()]), "Choice.choices: each must be a number, a text, None or a list of them"),
        (lambda: space.validated({}), "sweep.space must be a dict of at least one binding"),
        (lambda: space.validated({3: IntegerRange(1, 2)}), "each key must be the name of a binding, got 3"),
        (lambda: space.validated({"a = 1\nb": IntegerRange(1, 2)}), "each key must be the name of a binding"),
        (lambda: space.validated({ADAM: 3}), "learning_rate must have a distribution: @recsys_po_rl.FloatRange"),
        (
            lambda: space.validated({"recsys_po_rl.experiment.seeds": Choice([[0], [1]])}),
            "experiment.seeds must be the same in all trials: remove it",
        ),
        (
            lambda: space.validated({"recsys_po_rl.sweep.num_trials": IntegerRange(1, 2)}),
            "sweep.num_trials must be the same in all trials: remove it",
        ),
    ],
)
def test_impossible_spaces_are_refused(make, line):
    with pytest.raises(validation.InvalidInputError, match=line) as raised:
        make()
    assert re.search(line, gin_config.first_line(raised.value))
