"""Warm start of a training from the result of a pretraining."""

from collections.abc import Callable, Mapping
from typing import Any

from recsys_po_rl import gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import PolicyContext, SearchCost
from recsys_po_rl.run_folder import policy_file, pretraining_file
from recsys_po_rl.simulation_config import SimulationNetwork


@gin_config.configurable
class Pretrained:
    """Warm start: the recommender's scorer receives the weights of a pretraining (`--mode pretrain`).

    `experiment.pretrained = 'FOLDER'` is short for this class as `experiment.warm_start_ctor`; the trained policies for
    comparison have the option `warm_start_ctor` too.

    Details: `warm_start` ("pretrained"), `weights` (hash of the weights), `epoch` and `ndcg_at_10` (of the
    pretraining's test users, with the interval).
    """

    def __init__(self, folder: str) -> None:
        """Read the pretraining.

        Args:
          folder: output folder of a pretraining.

        Raises:
          InvalidInputError: one line, if the folder does not hold a whole pretraining.
        """
        if not isinstance(folder, str) or not folder:
            raise validation.InvalidTypeError(
                f"{type(self).__name__}: folder must be the folder of a pretraining, got {validation.shown(folder)}"
            )
        self.folder = folder
        try:
            self._pretraining = pretraining_file.read(folder)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise validation.InvalidInputError(
                f"{validation.shown(folder, validation.MAX_PATH_SHOWN)} holds no pretraining: --mode pretrain makes one"
            ) from error
        self._weights = policy_file.weights_hash(folder)

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Validate that the weights fit the recommender; see `policies.base.WarmStart`.

        Raises:
          InvalidInputError: one line, if the recommender has no such scorer.
        """
        self._set_weights(network_ctor(num_users=1, corpus_seed=0).recommender)

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return the hash of the weights as text: the folder may be moved; see `policies.base.WarmStart`."""
        return f"{type(self).__name__}(weights={describe(self._weights)})"

    def __call__(self, student: SimulationNetwork, context: PolicyContext, num_batches: int) -> Mapping[str, Any]:
        """Set the weights; see `policies.base.WarmStart`.

        Raises:
          InvalidInputError: one line, if the weights do not fit, or are no longer those of the validation.
        """
        del context, num_batches
        if policy_file.weights_hash(self.folder) != self._weights:
            raise validation.InvalidInputError(
                f"the weights in {self.folder!r} have changed since the experiment was started"
            )
        self._set_weights(student.recommender)
        of_scorer = self._pretraining.measures.get("scorer", {}).get("ndcg_at_10")
        details: dict[str, Any] = {
            "warm_start": "pretrained", "weights": self._weights, "epoch": self._pretraining.best_epoch
        }  # fmt: skip
        if of_scorer is not None:
            details["ndcg_at_10"] = [of_scorer.mean, *of_scorer.interval95]
        return details

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return no work; see `policies.base.WarmStart`."""
        del context
        return SearchCost()

    def _set_weights(self, recommender: Any) -> None:
        if not hasattr(recommender, "model"):
            raise validation.InvalidInputError(
                f"{type(recommender).__name__} has no scorer, which could receive the weights of {self.folder!r}"
            )
        policy_file.set_weights(self.folder, recommender.model)
