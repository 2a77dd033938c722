"""Construction of simulation networks from entities and a story."""

from collections.abc import Callable, Sequence
from typing import Any, Optional

import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Config
from recsim_ng.stories import recommendation_simulation

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import validation
from recsys_po_rl.corpus import CorpusWithTopicAndQuality, StaticCorpus
from recsys_po_rl.fully_observed_user import FullyObservedUser
from recsys_po_rl.metrics import ConsumedTimeAsRewardMetrics
from recsys_po_rl.recommender import CollabFilteringRecommender
from recsys_po_rl.simulation import seeding
from recsys_po_rl.user import InterestEvolutionUser

# Method that RecSim NG's story calls on each entity, and that identifies the entity's role.
_ASKED_OF = {
    "user": "next_response",
    "corpus": "available_documents",
    "recommender": "slate_docs",
    "metrics": "next_metrics",
}


def _check_role(role: str, entity: Any, story: Callable[..., Any]) -> None:
    if story is recommendation_simulation.recs_story and not hasattr(entity, _ASKED_OF[role]):
        raise validation.InvalidTypeError(
            f"{role}_ctor must make what stands in the place of the {role} and has {_ASKED_OF[role]}, "
            f"got {type(entity).__name__}"
        )


def _sizes_of(corpus: Any, config: Config) -> dict[str, int]:
    """Return the sizes that the config leaves to the corpus."""
    sizes = {size: getattr(corpus, size, None) for size in ("num_docs", "num_topics") if config[size] is None}
    for size, number in sizes.items():
        if number is None:
            raise validation.InvalidInputError(
                f"{size} must be an integer of at least 1 where the corpus does not have its own, as "
                f"@recsys_po_rl.TableCorpus has; got None for {type(corpus).__name__}"
            )
    return {size: validation.integer(f"{type(corpus).__name__}: {size}", number, 1) for size, number in sizes.items()}


class SimulationNetwork(tuple[list[variable.Variable], tuple[tf.Variable, ...]]):
    """Pair (variables, trainable variables) with the network's entities as attributes.

    Attributes:
      config: the configuration passed to the entities.
      user, corpus, recommender, metrics: the entities.
      details: additional entries of evaluation.json, for networks that are policies (see `experiment.policies`).
    """

    config: dict[str, Any]
    user: Any
    corpus: Any
    recommender: Any
    metrics: Any
    details: dict[str, Any]

    @property
    def variables(self) -> list[variable.Variable]:
        """The network's eight variables, in the story's order."""
        return self[0]

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """The recommender's trainable variables, in `tf.Module` order."""
        return self[1]


@gin_config.configurable
def create_interest_evolution_simulation_network(
    num_users: int = 1000,
    num_topics: Optional[int] = 2,
    num_docs: Optional[int] = 100,
    freeze_corpus: bool = True,
    history_length: int = 15,
    slate_size: int = 2,
    corpus_seed: Optional[int] = None,
    user_ctor: Callable[..., Any] = InterestEvolutionUser,
    corpus_ctor: Callable[..., Any] = CorpusWithTopicAndQuality,
    recommender_ctor: Callable[..., Any] = CollabFilteringRecommender,
    metrics_ctor: Callable[..., Any] = ConsumedTimeAsRewardMetrics,
    story: Callable[..., Sequence[variable.Variable]] = recommendation_simulation.recs_story,
    full_information: bool = False,
) -> SimulationNetwork:
    """Connect users, corpus, recommender and metrics to a network.

    Args:
      num_users: U, users simulated at once.
      num_topics: K; None: the number of the corpus, if it has the attribute `num_topics`, as a `TableCorpus` has.
      num_docs: D; None: the number of the corpus, if it has the attribute `num_docs`.
      freeze_corpus: whether to draw the corpus once, now; otherwise every initial step draws a new corpus.
      history_length: H, length of the recommender's consumption history.
      slate_size: S, at most D.
      corpus_seed: seed of the frozen corpus. None draws it from TensorFlow's global state, as recsim_ng does.
      user_ctor: called with the config (a dict of the sizes above and corpus_seed) as its only argument.
      corpus_ctor: called with the config.
      recommender_ctor: called with the config.
      metrics_ctor: called with the config.
      story: called like `recommendation_simulation.recs_story`.
      full_information: whether users reveal their interest to the recommender, see `FullyObservedUser`.

    Returns:
      The pair (list of variables, tuple of trainable variables), a `SimulationNetwork`.

    Raises:
      InvalidInputError: one line that names an invalid argument.
    """
    config = {
        "num_users": validation.integer("num_users", num_users, 1),
        "num_topics": None if num_topics is None else validation.integer("num_topics", num_topics, 1),
        "num_docs": None if num_docs is None else validation.integer("num_docs", num_docs, 1),
        "slate_size": validation.integer("slate_size", slate_size, 1),
        "history_length": validation.integer("history_length", history_length, 1),
        "corpus_seed": None if corpus_seed is None else validation.integer("corpus_seed", corpus_seed, 0),
    }
    validation.boolean("freeze_corpus", freeze_corpus)
    validation.boolean("full_information", full_information)
    if num_docs is not None and slate_size > num_docs:
        raise validation.InvalidInputError(f"slate_size must be at most num_docs, got {slate_size} > {num_docs}")
    entities: dict[str, Any] = {}

    def remembering(role: str, ctor: Callable[..., Any]) -> Callable[..., Any]:
        validation.constructor(f"{role}_ctor", ctor)

        def construct(config: Config) -> Any:
            entity = ctor(config)
            _check_role(role, entity, story)
            entities[role] = FullyObservedUser(entity) if role == "user" and full_information else entity
            return entities[role]

        return construct

    def frozen(config: Config) -> Any:
        drawn = corpus_ctor(config)
        _check_role("corpus", drawn, story)
        if not freeze_corpus or isinstance(drawn, StaticCorpus):
            return drawn
        if corpus_seed is None:
            return StaticCorpus(config, drawn.initial_state())
        with seeding.seeded_draws(seeding.stateless_seed(corpus_seed, "corpus"), fields.CORPUS_STATE):
            return StaticCorpus(config, drawn.initial_state())

    validation.constructor("corpus_ctor", corpus_ctor)
    make_corpus: Callable[..., Any] = frozen
    if num_docs is None or num_topics is None:
        sized = frozen(config)
        config.update(_sizes_of(sized, config))

        def make_corpus(config: Config) -> Any:
            del config
            return sized

    variables = validation.constructor("story", story)(
        config,
        remembering("user", user_ctor),
        remembering("corpus", make_corpus),
        remembering("recommender", recommender_ctor),
        remembering("metrics", metrics_ctor),
    )
    network = SimulationNetwork((list(variables), tuple(entities["recommender"].trainable_variables)))
    network.config = config
    for role, entity in entities.items():
        setattr(network, role, entity)
    return network
