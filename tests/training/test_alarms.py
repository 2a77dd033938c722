"""Each alarm fires when it should, keeps still when it should, and needs nothing but rows."""

import csv
import functools
import math
import pathlib

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from recsys_po_rl import corpus
from recsys_po_rl.common import validation
from recsys_po_rl.experiment import console, experiment, monitor
from recsys_po_rl.policies.learned_variants import LearnedFullInformation
from recsys_po_rl.policies.uniform_random import UniformRandom
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import create_interest_evolution_simulation_network
from recsys_po_rl.training import alarms
from recsys_po_rl.training import rows as rows_lib
from recsys_po_rl.training.learner import PolicyGradientLearner

NAMES = ["gradient_not_finite", "gradient_norm_far_off", "entropy_low", "reward_below_best"]


def row(step, reward=50.0, norm=1.0, entropy=2.0, critic_norm=0.5):
    return rows_lib.TrainingRow(step, reward, norm, entropy, 0.5, 0.01, 0.1, critic_norm, step * 12, 0.1, 120.0)


def history(column, values, **others):
    return [row(step, **{column: value}, **others) for step, value in enumerate(values, start=1)]


def raised(rows, **options):
    """All alarms of a training, as a run meets them: after each step."""
    of = alarms.Alarms(**options)
    return [alarm for end in range(1, len(rows) + 1) for alarm in of.raised(rows[:end])]


def steps(rows, name, **options):
    return [alarm.step for alarm in raised(rows, **options) if alarm.alarm == name]


def test_a_training_that_goes_well_raises_nothing():
    rows = [row(step, reward=25 + 40 * (1 - 0.98**step), norm=2.0 * 0.99**step, entropy=4.6 * 0.995**step)
            for step in range(1, 300)]  # fmt: skip
    assert raised(rows) == []


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_reported_and_counted_each_time(bad):
    found = raised(history("norm", [1.0, bad, bad, 1.0, bad]))
    assert [(alarm.step, alarm.alarm) for alarm in found] == [(step, "gradient_not_finite") for step in (2, 3, 5)]
    assert "the first such step" in found[0].message
    assert "3 such steps so far" in found[2].message
    assert found[0].threshold == math.inf
    assert not math.isfinite(found[0].value)


def test_a_critic_whose_gradient_is_not_finite_is_told_from_no_critic():
    assert raised(history("critic_norm", [math.nan] * 5)) == []
    found = raised(history("critic_norm", [0.5, math.nan, math.inf]))
    assert [alarm.step for alarm in found] == [2, 3]
    assert "critic's gradient" in found[0].message


def test_a_gradient_norm_is_judged_by_the_median_before_it():
    quiet = [1.0, 3.0] * 30  # median 2
    assert steps(history("norm", [*quiet, 19.9]), "gradient_norm_far_off") == []
    found = raised(history("norm", [*quiet, 20.1]))
    assert [(alarm.step, alarm.alarm, alarm.value, alarm.threshold) for alarm in found] == [
        (61, "gradient_norm_far_off", 20.1, 20.0)
    ]
    assert "more than 10 times above its median 2 of the last 50 steps" in found[0].message
    low = raised(history("norm", [*quiet, 0.19]))
    assert [(alarm.alarm, alarm.threshold) for alarm in low] == [("gradient_norm_far_off", 0.2)]
    assert "below" in low[0].message


def test_the_first_steps_have_no_median():
    assert steps(history("norm", [1.0] * 9 + [100.0]), "gradient_norm_far_off") == []
    assert steps(history("norm", [1.0] * 10 + [100.0]), "gradient_norm_far_off") == [11]


def test_the_median_follows_within_its_window():
    falling = [100.0] * 60 + [5.0] * 60  # 20 times lower: an alarm once, then it is the new normal
    assert steps(history("norm", falling), "gradient_norm_far_off") == [61]
    assert steps(history("norm", [100.0] * 60 + [5.0] * 60 + [100.0]), "gradient_norm_far_off") == [61, 121]
    options = {"gradient_norm_window": 20, "gradient_norm_factor": 3.0}
    assert steps(history("norm", [1.0] * 30 + [3.1]), "gradient_norm_far_off", **options) == [31]


def test_norms_that_are_not_finite_do_not_count_in_the_median():
    norms = [1.0] * 20 + [math.inf] * 49 + [100.0]
    assert steps(history("norm", norms), "gradient_norm_far_off") == []  # one norm left of fifty
    assert steps(history("norm", [1.0] * 20 + [math.nan] * 30 + [100.0]), "gradient_norm_far_off") == [51]


def test_an_alarm_that_lasts_comes_once_and_one_that_returns_comes_again():
    entropies = [1.0, 0.04, 0.03, 0.02, 0.06, 0.01]
    found = raised(history("entropy", entropies))
    assert [(alarm.step, alarm.alarm, alarm.value) for alarm in found] == [
        (2, "entropy_low", 0.04),
        (6, "entropy_low", 0.01),
    ]
    assert found[0].threshold == 0.05
    assert steps(history("entropy", entropies), "entropy_low", min_entropy=0.0) == []
    assert steps(history("entropy", [0.05]), "entropy_low") == []  # at the bound is not under it


def test_a_reward_under_its_best_has_to_stay_there():
    best = [60.0] * 25
    assert steps(history("reward", [*best, *[53.9] * 24]), "reward_below_best") == []
    found = raised(history("reward", [*best, *[53.9] * 25]))
    assert [(alarm.step, alarm.alarm, alarm.threshold) for alarm in found] == [(50, "reward_below_best", 54.0)]
    assert found[0].value == pytest.approx(53.9)
    assert steps(history("reward", [*best, *[54.1] * 100]), "reward_below_best") == []
    assert steps(history("reward", [*best, *[50.0] * 20, 54.1, *[50.0] * 24]), "reward_below_best") == []


def test_one_lucky_step_is_no_best():
    assert steps(history("reward", [50.0] * 30 + [500.0] + [50.0] * 10), "reward_below_best") == []


def test_rewards_may_be_negative():
    assert steps(history("reward", [-10.0] * 25 + [-10.9] * 40), "reward_below_best") == []
    assert steps(history("reward", [-10.0] * 25 + [-11.1] * 40), "reward_below_best") == [50]
    options = {"reward_window": 2, "reward_drop": 0.0}
    assert steps(history("reward", [2.0, 2.0, 1.9, 1.9]), "reward_below_best", **options) == [4]


def test_alarms_depend_on_rows_alone():
    rows = history("entropy", [1.0, 0.01, 0.02, 1.0, 0.03])
    assert alarms.Alarms().raised(rows) == alarms.Alarms().raised(rows)
    assert [alarm.step for alarm in alarms.Alarms().raised(rows)] == [5]


@pytest.mark.parametrize("name", NAMES)
def test_only_alarms_in_stop_on_stop(name):
    alarm = alarms.Alarm(7, name, 1.0, 2.0, "it went wrong")
    alarms.Alarms().stop([alarm])
    alarms.Alarms(stop_on=[other for other in NAMES if other != name]).stop([alarm])
    with pytest.raises(alarms.StoppedByAlarmError, match=f"stopped at training step 7 by {name}: it went wrong"):
        alarms.Alarms(stop_on=[name]).stop([alarm])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_on": "entropy_low"}, "stop_on must be a list of gradient_not_finite, .*got 'entropy_low'"),
        ({"stop_on": ["entropi_low"]}, r"stop_on: each must be one of .*did you mean entropy_low\?"),
        ({"gradient_norm_factor": 1.0}, "gradient_norm_factor must be a finite number above 1, got 1"),
        ({"gradient_norm_factor": 0.5}, "gradient_norm_factor must be a finite number above 1, got 0.5"),
        ({"gradient_norm_window": 9}, "gradient_norm_window must be an integer of at least 10, got 9"),
        ({"min_entropy": -0.1}, "min_entropy must be a finite number of at least 0, got -0.1"),
        ({"reward_drop": math.nan}, "reward_drop must be a finite number of at least 0, got nan"),
        ({"reward_window": 0}, "reward_window must be an integer of at least 1, got 0"),
    ],
)
def test_impossible_thresholds_are_refused(options, message):
    with pytest.raises(validation.InvalidInputError, match=message):
        alarms.Alarms(**options)


def test_the_training_with_full_information_says_which_it_is(capsys):
    progress = console.TrainingProgress(2, seed=0)
    watch = monitor.TrainingMonitor(
        progress, alarms.Alarms(), seed=0, training=" of the training with full information"
    )
    for one in history("entropy", [1.0, 0.01]):
        watch.on_update(one)
    watch.close()
    assert [(alarm.step, alarm.alarm) for alarm in watch.raised] == [(2, "entropy_low")]
    assert "alarm at step 2 of the training with full information: entropy_low: the entropy" in capsys.readouterr().out


# In a run

SMALL = dict(
    num_training_steps=4, horizon=4, users_per_step=5, num_evaluation_users=10, evaluation_batch_size=5,
    num_validation_users=10, validate_every_steps=2, checkpoint_every_steps=2, policies=[UniformRandom],
    runtime_ctor=functools.partial(SeededRuntime, mode="eager"),
    network_ctor=functools.partial(
        create_interest_evolution_simulation_network, num_docs=8, num_topics=4, corpus_ctor=corpus.ReferenceCorpus
    ),
)  # fmt: skip


class BrokenAtThree(PolicyGradientLearner):
    """Its third step has a gradient that is not finite; how such an update is left out is the learner's own test."""

    def __init__(self, **options):
        super().__init__(**options)
        self._calls = 0

    def step(self, keys, progress):
        self._calls += 1
        result = super().step(keys, progress)
        return result._replace(gradient_norm=tf.constant(math.nan)) if self._calls == 3 else result


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "broken"
    return experiment(seeds=[4], output_dir=str(folder), learner_ctor=BrokenAtThree, quiet=True, **SMALL)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_an_alarm_leaves_a_row_and_the_run_goes_on(broken):
    folder = pathlib.Path(broken.run_dir)
    found = rows_of(folder / "alarms.csv")
    assert [list(one) for one in found] == [["seed", "step", "alarm", "value", "threshold", "message"]]
    assert (found[0]["seed"], found[0]["step"], found[0]["alarm"]) == ("4", "3", "gradient_not_finite")
    assert (found[0]["value"], found[0]["threshold"]) == ("nan", "inf")
    assert [one["step"] for one in rows_of(folder / "metrics.csv")] == ["1", "2", "3", "4"]
    assert (folder / "evaluation.json").exists()


@pytest.mark.slow
def test_a_run_has_events_in_four_groups_and_its_hyperparameters(broken):
    seen = EventAccumulator(f"{broken.run_dir}/tensorboard", size_guidance={"tensors": 0})
    seen.Reload()
    steps = {name: [event.step for event in seen.Tensors(name)] for name in seen.Tags()["tensors"]}
    of_rows = {"reward", "entropy", "approximate_kl", "clip_share", "learning_rate"}
    assert {name: steps[f"train/{name}"] for name in of_rows} == {name: [1, 2, 3, 4] for name in of_rows}
    assert steps["train/gradient_norm"] == [1, 2, 4]
    assert steps["time/user_steps_per_second"] == steps["time/step_seconds"] == [1, 2, 3, 4]
    of_users = {"reward", "click_rate", "mean_quality_consumed", "share_positive_quality", "interest_drift_at_the_end"}
    assert {name.removeprefix("users/") for name in steps if name.startswith("users/")} == of_users
    assert {name for name in steps if name.startswith("policy/")} == {
        "policy/catalogue_coverage", "policy/slate_diversity",
    }  # fmt: skip
    assert steps["users/click_rate"] == steps["policy/slate_diversity"] == [2, 4]
    assert steps["alarms/gradient_not_finite"] == [3]
    told = seen.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    hyperparameters = plugin_data_pb2.HParamsPluginData.FromString(told).session_start_info.hparams
    assert hyperparameters["seed"].number_value == 4
    assert hyperparameters["users_per_step"].number_value == 5


@pytest.mark.slow
def test_an_alarm_in_the_training_with_full_information_leaves_it_out(tmp_path):
    """The policy that was learned from histories is evaluated all the same."""
    stopping = functools.partial(alarms.Alarms, stop_on=["gradient_not_finite"])
    made = []

    def learner_ctor(*arguments, **options):  # the second learner is that with full information
        made.append((BrokenAtThree if made else PolicyGradientLearner)(*arguments, **options))
        return made[-1]

    result = experiment(
        output_dir=str(tmp_path / "run"), learner_ctor=learner_ctor, alarms_ctor=stopping,
        **{**SMALL, "policies": [LearnedFullInformation], "quiet": True},
    )  # fmt: skip
    assert len(made) == 2
    reason = result.evaluation["left_out"]["learned_full_information"]
    assert reason.startswith("its training stopped at training step 3 by gradient_not_finite: ")
    assert "\n" not in reason
    assert "learned" in result.evaluation["policies"]


@pytest.mark.slow
def test_an_alarm_is_said_and_stops_a_run_that_is_bound_to(tmp_path, capsys):
    stopping = functools.partial(alarms.Alarms, stop_on=["gradient_not_finite"])
    with pytest.raises(alarms.StoppedByAlarmError, match="stopped at training step 3 by gradient_not_finite"):
        experiment(
            output_dir=str(tmp_path / "run"), learner_ctor=BrokenAtThree, alarms_ctor=stopping, quiet=False, **SMALL
        )
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith("alarm at step 3: gradient_not_finite: the gradient is not finite") for line in out)
    assert [one["step"] for one in rows_of(tmp_path / "run" / "metrics.csv")] == ["1", "2", "3"]
    assert len(rows_of(tmp_path / "run" / "alarms.csv")) == 1
    assert tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints")).endswith("-3")
    assert not (tmp_path / "run" / "evaluation.json").exists()
