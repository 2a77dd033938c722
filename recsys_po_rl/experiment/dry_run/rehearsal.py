"""Validation of policy arguments before training starts."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from recsim_ng.core import variable  # noqa: F401  (edward2 first)
from recsim_ng.entities.recommendation import recommender

from recsys_po_rl.common import validation
from recsys_po_rl.policies.catalogue import Study


class _AskedForTheWorld(Exception):  # noqa: N818  (no error)
    """Signal that a policy has validated its arguments and requests the world."""


class _Rehearsal(Study):
    """Stand-in for a `Study` that raises `_AskedForTheWorld` at the first request."""

    def __init__(self, network_ctor: Callable[..., Any]) -> None:
        self._make_network = network_ctor

    def __getattribute__(self, name: str) -> Any:
        if name in ("config", "seed", "horizon", "batch_size"):
            _break_off()
        return super().__getattribute__(name)

    def network(self, **options: Any) -> NoReturn:
        _break_off()

    runtime = user_laws = documents = planning_network = first_interests = most_popular = network  # type: ignore[assignment]
    fitted_value = grid_value = popularity = network

    def train_with_full_information(self, recommender_ctor: Callable[..., Any]) -> NoReturn:
        """Build a small network, which validates the recommender's arguments."""
        validation.constructor("learned_full_information: recommender_ctor", recommender_ctor)
        self._make_network(num_users=1, corpus_seed=0, recommender_ctor=recommender_ctor, full_information=True)
        _break_off()


def _break_off() -> NoReturn:
    raise _AskedForTheWorld


def rehearse(policies: Sequence[Callable[..., Any]], network_ctor: Callable[..., Any]) -> None:
    """Validate policy arguments: call each policy with a study that raises at the first request.

    Args:
      policies: constructors of policies, see `policies.catalogue`.
      network_ctor: constructor of the network, see `run.experiment`.

    Raises:
      InvalidInputError: if a policy's arguments are invalid, or a policy is a recommender entity instead of a function
        that returns a recommender's constructor.
    """
    for policy in policies:
        if isinstance(policy, type) and issubclass(policy, recommender.BaseRecommender):
            raise validation.InvalidTypeError(
                f"experiment.policies: {policy.__name__} is a recommender; a policy is a function of a study that "
                "returns a recommender's constructor, such as @recsys_po_rl.uniform_random"
            )
        try:
            policy(_Rehearsal(network_ctor))
        except validation.InvalidInputError:
            raise
        except Exception:  # a request for the world, or an error that the evaluation will raise again
            continue
