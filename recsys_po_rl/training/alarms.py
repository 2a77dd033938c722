"""Signs that a training goes wrong: each is a function of the rows of metrics.csv alone.

A resumed run therefore raises what an uninterrupted one does, from the rows that it reads back.
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

LEAST_NORMS = 10  # of fewer norms the median says little: no alarm before


class Alarm(NamedTuple):
    """A row of alarms.csv, but for the seed."""

    step: int  # training step, from 1
    alarm: str  # one of the four names above
    value: float  # what was seen
    threshold: float  # what it should have kept to; infinite where it should have been finite
    message: str  # a sentence


class StoppedByAlarmError(RuntimeError):
    """A training ended at an alarm that it is bound to stop on; the message is one line."""


class _Sign(NamedTuple):
    value: float
    threshold: float
    message: str


@gin_config.configurable
class Alarms:
    """What counts as going wrong, and what stops the training.

    An alarm comes when its sign begins to show, and again when the sign comes back after a step without it; only a
    gradient that is not finite is reported each time, because each time an update is lost.
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
        """Keeps the thresholds.

        Args:
          stop_on: names of alarms after which training stops: gradient_not_finite, gradient_norm_far_off, entropy_low,
            reward_below_best. By default none does.
          gradient_norm_factor: how many times the gradient norm may be above its running median, or below it, above 1.
            Trainings that go well stay within a factor of 5.
          gradient_norm_window: steps that the median is taken over, those before the step that is judged, at least
            10; long enough that a few odd steps do not move it, short enough to follow a norm that falls as one learns.
          min_entropy: nats, at least 0, of the first pick. 0.05 is 99.5% on one document of 100: nothing is tried any
            more, and gradients vanish. The default training ends at 0.25.
          reward_drop: share of the best reward that may be lost, at least 0. A tenth is several times the noise of a
            step's mean over 1000 users.
          reward_window: steps, at least 1: the best is the highest mean over so many steps in a row, and the drop has
            to last for as many, so that no single lucky or unlucky step counts.

        Raises:
          InvalidInputError: if a number is out of bounds, or a name unknown.
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
        """The alarms of the last of some rows.

        Args:
          history: all rows of a training so far, at least one.
        """
        found = []
        for name, sign_of in self._signs.items():
            sign = sign_of(history)
            if sign is not None and (name == GRADIENT_NOT_FINITE or not history[:-1] or sign_of(history[:-1]) is None):
                found.append(Alarm(history[-1].step, name, *sign))
        return found

    def stop(self, raised: Sequence[Alarm]) -> None:
        """Ends the training if it is bound to.

        Args:
          raised: alarms of one step.

        Raises:
          StoppedByAlarmError: if one of them is among `stop_on`.
        """
        for alarm in raised:
            if alarm.alarm in self._stop_on:
                raise StoppedByAlarmError(f"stopped at training step {alarm.step} by {alarm.alarm}: {alarm.message}")

    def _gradient_not_finite(self, history: Sequence[TrainingRow]) -> Optional[_Sign]:
        has_critic = any(math.isfinite(row.critic_gradient_norm) for row in history)  # without one, all are NaN
        lost = [
            not math.isfinite(row.gradient_norm) or (has_critic and not math.isfinite(row.critic_gradient_norm))
            for row in history
        ]
        if not lost[-1]:
            return None
        of, norm = "gradient", history[-1].gradient_norm
        if math.isfinite(norm):
            of, norm = "critic's gradient", history[-1].critic_gradient_norm
        so_far = "the first such step" if sum(lost) == 1 else f"{sum(lost)} such steps so far"
        return _Sign(
            norm, math.inf, f"the {of} is not finite: what it would have updated was left as it was ({so_far})"
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
    return frozenset(validation.one_of(f"{name}: each", one, known) for one in given)
