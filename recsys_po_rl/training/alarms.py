"""Training alarms, each a function of the rows of metrics.csv alone.

A resumed run therefore raises the same alarms as an uninterrupted one, from the rows that it reads back.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.training.rows import TrainingRow

GRADIENT_NOT_FINITE = "gradient_not_finite"
GRADIENT_NORM_FAR_OFF = "gradient_norm_far_off"
ENTROPY_LOW = "entropy_low"
REWARD_BELOW_BEST = "reward_below_best"

LEAST_NORMS = 10  # the median of fewer norms is too noisy for an alarm


class Alarm(NamedTuple):
    """Row of alarms.csv, without the seed."""

    step: int  # training step, from 1
    alarm: str  # one of the four names above
    value: float  # value that raised the alarm
    threshold: float  # bound that the value violated; infinite if the value is not finite
    message: str  # one sentence


class StoppedByAlarmError(RuntimeError):
    """Training stopped by an alarm listed in `stop_on`; the message is one line."""


class _Sign(NamedTuple):
    value: float
    threshold: float
    message: str


@gin_config.configurable
class Alarms:
    """Alarm conditions with their thresholds, and the alarms that stop the training.

    An alarm is raised at the first step at which its condition holds, and again when the condition returns after a
    step without it. Only a non-finite gradient raises an alarm at every step, because each one loses an update.
    """

    def __init__(
        self,
        stop_on: Sequence[str] = (),
        gradient_norm_factor: float = 10.0,
        gradient_norm_window: int = 50,
        min_entropy: float = 0.05,
        reward_drop: float = 0.1,
        reward_window: int = 25,
    ) -> None:
        """Store the thresholds.

        Args:
          stop_on: names of alarms after which training stops: gradient_not_finite, gradient_norm_far_off, entropy_low,
            reward_below_best. By default no alarm stops the training.
          gradient_norm_factor: largest ratio of the gradient norm to its running median, or of the median to the norm,
            that raises no alarm; above 1. Healthy trainings stay within a factor of 5.
          gradient_norm_window: number of steps before the tested step over which the median is taken, at least 10;
            long enough that a few outliers do not move the median, short enough to follow a norm that falls during
            training.
          min_entropy: lowest entropy of the first pick, nats, at least 0. 0.05 is a probability of 99.5% on one
            document of 100: exploration has ended, and gradients vanish. The default training ends at 0.25.
          reward_drop: share of the best reward that may be lost, at least 0. A tenth is several times the noise of a
            step's mean over 1000 users.
          reward_window: steps, at least 1. The best reward is the highest mean over this many consecutive steps, and
            the drop has to last for as many, so that no single outlier raises an alarm.

        Raises:
          InvalidInputError: if a number is out of bounds or a name is unknown.
        """
        owner = type(self).__name__
        self._signs: Mapping[str, Callable[[Sequence[TrainingRow]], Optional[_Sign]]] = {
            GRADIENT_NOT_FINITE: self._gradient_not_finite,
            GRADIENT_NORM_FAR_OFF: self._gradient_norm_far_off,
            ENTROPY_LOW: self._entropy_low,
            REWARD_BELOW_BEST: self._reward_below_best,
        }
        self._stop_on = _checked_names(f"{owner}: stop_on", stop_on, self._signs)
        self._factor = validation.number(
            f"{owner}: gradient_norm_factor", gradient_norm_factor, 1.0, exclusive_minimum=True
        )
        self._norms = validation.integer(f"{owner}: gradient_norm_window", gradient_norm_window, LEAST_NORMS)
        self._min_entropy = validation.number(f"{owner}: min_entropy", min_entropy, 0.0)
        self._drop = validation.number(f"{owner}: reward_drop", reward_drop, 0.0)
        self._window = validation.integer(f"{owner}: reward_window", reward_window, 1)

    def raised(self, history: Sequence[TrainingRow]) -> list[Alarm]:
        """Return the alarms that the last row raises.

        Args:
          history: all rows of a training so far, at least one.
        """
        raised = []
        for name, sign_of in self._signs.items():
            sign = sign_of(history)
            if sign is not None and (name == GRADIENT_NOT_FINITE or not history[:-1] or sign_of(history[:-1]) is None):
                raised.append(Alarm(history[-1].step, name, *sign))
        return raised

    def stop(self, raised: Sequence[Alarm]) -> None:
        """Stop the training if an alarm demands it.

        Args:
          raised: alarms of one step.

        Raises:
          StoppedByAlarmError: if one of the alarms is in `stop_on`.
        """
        for alarm in raised:
            if alarm.alarm in self._stop_on:
                raise StoppedByAlarmError(f"stopped at training step {alarm.step} by {alarm.alarm}: {alarm.message}")

    def _gradient_not_finite(self, history: Sequence[TrainingRow]) -> Optional[_Sign]:
        has_critic = any(math.isfinite(row.critic_gradient_norm) for row in history)  # all NaN without a critic
        lost = [
            not math.isfinite(row.gradient_norm) or (has_critic and not math.isfinite(row.critic_gradient_norm))
            for row in history
        ]
        if not lost[-1]:
            return None
        owner, norm = "gradient", history[-1].gradient_norm
        if math.isfinite(norm):
            owner, norm = "critic's gradient", history[-1].critic_gradient_norm
        so_far = "the first such step" if sum(lost) == 1 else f"{sum(lost)} such steps so far"
        return _Sign(
            norm, math.inf, f"the {owner} is not finite: what it would have updated was left as it was ({so_far})"
        )

    def _gradient_norm_far_off(self, history: Sequence[TrainingRow]) -> Optional[_Sign]:
        *before, last = (row.gradient_norm for row in history[-self._norms - 1 :])
        norms = [norm for norm in before if math.isfinite(norm)]
        if len(norms) < LEAST_NORMS or not math.isfinite(last):
            return None
        median = statistics.median(norms)
        for threshold, beyond, word in (
            (median * self._factor, last > median * self._factor, "above"),
            (median / self._factor, last < median / self._factor, "below"),
        ):
            if beyond:
                return _Sign(
                    last,
                    threshold,
                    f"the gradient norm {last:.3g} is more than {self._factor:g} times {word} its median {median:.3g} "
                    f"of the last {len(norms)} steps",
                )
        return None

    def _entropy_low(self, history: Sequence[TrainingRow]) -> Optional[_Sign]:
        last = history[-1].entropy
        if not last < self._min_entropy:
            return None
        return _Sign(
            last,
            self._min_entropy,
            f"the entropy of the first pick fell to {last:.3g} nats, under {self._min_entropy:g}: "
            "nothing new is tried any more",
        )

    def _reward_below_best(self, history: Sequence[TrainingRow]) -> Optional[_Sign]:
        rewards = np.array([row.mean_reward for row in history])
        earlier, lately = rewards[: -self._window], rewards[-self._window :]
        if len(earlier) < self._window:
            return None
        best = float(np.lib.stride_tricks.sliding_window_view(earlier, self._window).mean(axis=1).max())
        threshold = best - self._drop * abs(best)
        if not (lately < threshold).all():
            return None
        now = float(lately.mean())
        return _Sign(
            now,
            threshold,
            f"the reward, {now:.2f} over the last {self._window} steps, has stayed under {threshold:.2f} for all of "
            f"them; its best was {best:.2f}",
        )


def _checked_names(name: str, given: Any, known: Mapping[str, Any]) -> frozenset[str]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise validation.InvalidTypeError(f"{name} must be a list of {', '.join(known)}, got {given!r}")
    return frozenset(validation.one_of(f"{name}: each", entry, known) for entry in given)
