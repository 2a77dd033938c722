"""Asks policies what they think of their arguments, before a training that they come after."""

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from recsim_ng.core import variable  # noqa: F401  (edward2 first)
from recsim_ng.entities.recommendation import recommender

from recsys_po_rl.common import validation
from recsys_po_rl.policies.catalogue import Study


class _AskedForTheWorld(Exception):  # noqa: N818  (no error)
    """A policy went on from its arguments to its work."""


class _Rehearsal(Study):
    """Looks like a study, and breaks off whatever asks it for something."""

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
        """Makes a small network, in which impossible numbers of the recommender show."""
        validation.constructor("learned_full_information: recommender_ctor", recommender_ctor)
        self._make_network(num_users=1, corpus_seed=0, recommender_ctor=recommender_ctor, full_information=True)
        _break_off()


def _break_off() -> NoReturn:
    raise _AskedForTheWorld


def rehearse(policies: Sequence[Callable[..., Any]], network_ctor: Callable[..., Any]) -> None:
    """Calls each policy with a study that breaks off whatever it asks for, so that arguments alone are looked at.

    Args:
      policies: constructors of policies, see `experiment.policies`.
      network_ctor: makes the network, see `run.experiment`.

    Raises:
      InvalidInputError: what a policy says of its arguments; or if it is an entity, where a policy is what makes
        one's constructor.
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
        except Exception:  # it asks for the world, or will fail in the real one, where that is heard
            continue
