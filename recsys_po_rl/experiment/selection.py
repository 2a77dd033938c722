"""Selection of the best policy of a training by the mean reward of validation users.

`BestPolicySelector.validate` makes the choice. If a choice depends on more than the best reward so far, such as a
moving mean of rewards, `state` and `restore` hold the rest too: they go through the checkpoints, and a resumed run must
choose as an uninterrupted one does. `tests/experiment/test_selection.py` tests both in seconds.
"""

from collections.abc import Mapping, Sequence
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

    def state(self) -> Mapping[str, Any]:
        """Return what later choices depend on besides the weights, as JSON types; checkpoints hold it.

        `run_folder.checkpoint_sidecar` validates these keys when a checkpoint is read.
        """
        if self.best is None:
            return {}
        return {"best_mean_reward": self.best.mean_reward, "best_step": self.best.step}

    def restore(self, state: Mapping[str, Any], weights: Weights) -> None:
        """Restore the best policy so far; nothing if there was no validation before the checkpoint.

        Args:
          state: result of `state` when the checkpoint was saved.
          weights: weights of the best policy.
        """
        if state.get("best_step") is not None:
            self.best = BestPolicy(state["best_mean_reward"], state["best_step"], weights)

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
