"""Files of an evaluation beside evaluation.json: portraits of the policies and the total reward of each user."""

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from recsim_ng.core.value import Value

from recsys_po_rl import catalogue_corpus, fields
from recsys_po_rl.evaluation import portrait
from recsys_po_rl.evaluation.evaluator import Outcome
from recsys_po_rl.experiment import entity_parameters
from recsys_po_rl.policies.base import LeftOutError, PolicyContext
from recsys_po_rl.run_folder import layout, per_user
from recsys_po_rl.simulation.runtime import SeededRuntime
from recsys_po_rl.simulation_config import SimulationNetwork

SIZES = ("num_topics", "num_docs", "slate_size")  # sizes of the world; other sizes belong to the recommender
WORLD_FORM = 2  # 1, without this entry: text of gin's configuration, in which values of macros are missing


class EvaluationFiles:
    """Collector of portraits during the evaluation of policies; writes them with the total reward of each user."""

    def __init__(self, context: PolicyContext, corpus: Any) -> None:
        """Read the world's documents and the users' taste, if the world provides them.

        Args:
          context: the world.
          corpus: the corpus entity, whose ids and topic names stand beside the numbers of the simulation.
        """
        self._document_ids = catalogue_corpus.document_ids(corpus)
        self._horizon = context.horizon
        self._num_topics = context.config["num_topics"]
        self._taste: Optional[portrait.Taste] = None
        self._topics: Optional[list[portrait.Topic]] = None
        self._collectors: dict[str, portrait.Collector] = {}
        try:
            documents = context.documents()
            self._topics = _topics(documents, self._num_topics, catalogue_corpus.topic_names(corpus))
            self._taste = portrait.taste(context.user_dynamics(), documents)
        except LeftOutError:
            pass  # the portrait then omits the segments of users

    def portrait_of(self, name: str) -> portrait.Collector:
        """Return the reducer of the evaluation of the policy `name` to its portrait."""
        self._collectors[name] = portrait.Collector(self._horizon, self._num_topics, self._taste)
        return self._collectors[name]

    def write(self, folder: str, outcomes: Mapping[str, Outcome]) -> None:
        """Write portrait.json and per_user.npz.

        Args:
          folder: the run folder.
          outcomes: outcome of each policy on the same users, by policy name.
        """
        portraits = {name: collector.result() for name, collector in self._collectors.items()}
        if self._document_ids is not None:
            portraits = {name: result.with_ids(self._document_ids) for name, result in portraits.items()}
        content = portrait.Portrait(
            horizon=self._horizon, parts=portrait.parts(self._horizon), topics=self._topics, policies=portraits
        )
        layout.write_compact_json(folder, layout.PORTRAIT, content.to_json())
        per_user.save(folder, {name: outcome.total for name, outcome in outcomes.items()})


def in_users_words(details: dict[str, Any], corpus: Any) -> dict[str, Any]:
    """Return a policy's details with the user's own ids and topic, if the corpus has such.

    Args:
      details: details of the policy for evaluation.json.
      corpus: the corpus entity.

    Returns:
      The details, with `documents` beside `doc_ids`, and `topic_name` beside `topic`.
    """
    ids, names = catalogue_corpus.document_ids(corpus), catalogue_corpus.topic_names(corpus)
    further: dict[str, Any] = {}
    if ids is not None and "doc_ids" in details:
        further["documents"] = [ids[doc_id - 1] for doc_id in details["doc_ids"]]
    if names is not None and "topic" in details and details["topic"] < len(names):
        further["topic_name"] = names[details["topic"]]
    return {**details, **further}


def world_of(network: SimulationNetwork, runtime: SeededRuntime, context: PolicyContext) -> dict[str, Any]:
    """Describe what determines the evaluated users and their random draws: entry `world` of evaluation.json.

    Args:
      network: network of the learned policy.
      runtime: runtime of `network`; runtimes of different modes draw different users.
      context: the world.

    Returns:
      By name a number, text, None or list: sizes, entities and their parameters (see `entity_parameters.parameters`),
      batch size, horizon and mode, and `form`, the version of this description. The seeds are separate entries of
      evaluation.json. The recommender and its state do not belong to the world.
    """
    world: dict[str, Any] = {"form": WORLD_FORM, **{size: network.config[size] for size in SIZES}}
    for role in ("user", "corpus", "metrics"):
        entity = getattr(network, role)
        entity = getattr(entity, "unwrapped", entity)  # the observation does not change the users
        world[role] = type(entity).__name__
        by_name = entity_parameters.parameters(entity, network.config)
        world.update({f"{role}.{name}": value for name, value in by_name.items()})
    world["horizon"] = context.horizon
    world["evaluation_batch_size"] = context.batch_size
    world["runtime_mode"] = runtime.mode
    return world


def _topics(documents: Value, num_topics: int, names: Optional[Sequence[str]]) -> list[portrait.Topic]:
    topics, qualities = documents.get(fields.DOC_TOPIC).numpy(), documents.get(fields.DOC_QUALITY).numpy()
    by_topic = [qualities[topics == topic] for topic in range(num_topics)]
    return [
        portrait.Topic(
            topic=topic,
            num_documents=int(in_topic.size),
            mean_quality=float(in_topic.mean()) if in_topic.size else None,
            name=None if names is None or topic >= len(names) else names[topic],
        )
        for topic, in_topic in enumerate(by_topic)
    ]
