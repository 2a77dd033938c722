"""Selection of the best policy of a training by the mean reward of validation users."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_po_rl.evaluation import evaluator
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork
from recsys_po_rl.training.callbacks import ValidationResult

Weights = list[np.ndarray]


class BestPolicy(NamedTuple):
    """Best policy so far."""

    mean_reward: float  # of the validation users
    step: int
    weights: Weights  # all of the recommender's variables, in their order


class BestPolicySelector:
    """Validator of the policy during training that keeps the weights with the highest mean reward.

    Every validation uses the same held-out users; neither training nor evaluation uses them.

    Attributes:
      best: the best policy so far; None before the first validation.
    """

    def __init__(
        self, config: Any, seed: int, trained: SimulationNetwork, network: SimulationNetwork, runtime: SeededRuntime
    ) -> None:
        """Store the arguments.

        Args:
          config: the `ExperimentConfig`.
          seed: seed of the run.
          trained: the network that is trained.
          network: the network of evaluation, to which the weights of `trained` are copied.
          runtime: runtime of `network`.
        """
        self.best: Optional[BestPolicy] = None
        self._config = config
        self._seed = seed
        self._trained = trained
        self._network = network
        self._runtime = runtime

    def is_due(self, step: int) -> bool:
        """Return whether the policy is validated after a step."""
        return is_validated(self._config, step)

    def validate(self, step: int) -> ValidationResult:
        """Evaluate the policy on the validation users; keep its weights if it is the best so far.

        Args:
          step: training steps done.
        """
        weights = weights_of(self._trained)
        outcome = self.outcome(weights)
        mean_reward = float(outcome.total.mean())
        improved = self.best is None or mean_reward > self.best.mean_reward
        if improved:
            self.best = BestPolicy(mean_reward, step, weights)
        return ValidationResult(step, outcome, improved)

    def outcome(self, weights: Weights) -> evaluator.Outcome:
        """Return rewards and behaviour of the validation users under the network with these weights."""
        with_weights(self._network, weights)
        return evaluator.evaluate(
            self._runtime,
            self._config.horizon,
            self._config.num_validation_users,
            self._config.evaluation_batch_size,
            self._seed,
            path=("validation",),
        )


def is_validated(config: Any, step: int) -> bool:
    """Return whether the policy is validated after a step: every `validate_every_steps`, and after the last step."""
    every = config.validate_every_steps
    return bool(every) and (step % every == 0 or step == config.num_training_steps)


def weights_of(network: SimulationNetwork) -> Weights:
    """Return copies of all variables of a network's recommender."""
    return [variable.numpy() for variable in network.recommender.variables]


def with_weights(network: SimulationNetwork, weights: Sequence[np.ndarray]) -> SimulationNetwork:
    """Set all variables of a network's recommender, and return the network."""
    for target, source in zip(network.recommender.variables, weights, strict=True):
        target.assign(source)
    return network
