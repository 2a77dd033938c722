"""Replay of logged histories through a policy: propensities of the logged slates, and slates of the policy's own."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.common import validation
from recsys_po_rl.corpus import StaticCorpus
from recsys_po_rl.distributions.top_k_plackett_luce import TopKPlackettLuce
from recsys_po_rl.evaluation.propensities import SlatePropensities
from recsys_po_rl.simulation import seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

NO_CLICK_TIME = -1.0  # consumed time in the response of a user who clicks nothing
_LOGGED_RESPONSES = (fields.CHOICE, fields.CONSUMED_TIME)


class LoggedHistories(NamedTuple):
    """Logged slates and responses of users from their first step on."""

    slates: np.ndarray  # int32 [U, T, S], document ids
    choices: np.ndarray  # int32 [U, T], clicked slot, S for none
    consumed_times: np.ndarray  # float32 [U, T], 0 for none


class Replayed(NamedTuple):
    """Policy at the logged histories."""

    log_propensities: np.ndarray  # float64 [U, T], joint, of the logged slates; -inf: the policy never shows it
    log_prefix_propensities: Optional[np.ndarray]  # float64 [U, T, S], see `offline_slates`; None: unknown
    log_item_propensities: Optional[np.ndarray]  # float64 [U, T, S], NaN for marginals with too many terms
    sampled_slates: np.ndarray  # int32 [M, U, T, S], ids of slates that the policy draws at the logged histories


class HistoryReplay:
    """Replay of logged histories through the recommender of a network.

    The recommender's state is computed by its own `next_state` from the logged slates, clicks and consumed times,
    whether or not the state depends on weights. Its slate's value function is evaluated at each history, with the
    logged slate in the place of the draw. A recommender that draws nothing shows one slate with probability 1.
    """

    def __init__(self, network: Any, runtime: SeededRuntime, num_samples: int = 0) -> None:
        """Validate that the recommender can be replayed from a log.

        Args:
          network: a `SimulationNetwork` of a batch of users, whose documents stay the same.
          runtime: runtime of the network.
          num_samples: M, slates that the policy draws at each history, at least 0.

        Raises:
          InvalidInputError: one line, if slates or state depend on values that no log has, such as the interest, if the
            documents change, or if the slate's draws are not its field doc_ranks.
        """
        self._num_samples = validation.integer("num_samples", num_samples, 0)
        if not isinstance(network.corpus, StaticCorpus):
            raise validation.InvalidInputError(
                f"the documents of {type(network.corpus).__name__} can change from step to step: a policy can be "
                "evaluated on a log only if its documents stay the same"
            )
        _raise_if_not_logged(network, runtime)
        by_name = {variable.name: variable for variable in network.variables}
        self._slate, self._state = by_name[fields.SLATE_DOCS], by_name[fields.RECOMMENDER_STATE]
        self.is_deterministic = not runtime.flow(fields.SLATE_DOCS).random_fields
        self._first_state = self._state.initial_value.fn().map(tf.convert_to_tensor).as_dict
        documents = by_name[fields.AVAILABLE_DOCS].initial_value.fn(by_name[fields.CORPUS_STATE].initial_value.fn())
        self._documents = documents.map(tf.convert_to_tensor)
        self._specs = {name: runtime.flow(name).field_specs for name in by_name}
        ids = self._documents.get(fields.DOC_ID).numpy()
        self._place_of = np.full(int(ids.max()) + 1, -1, np.int32)
        self._place_of[ids] = np.arange(len(ids), dtype=np.int32)
        self._ids = ids.astype(np.int32)
        self.num_users = int(self._specs[fields.SLATE_DOCS][fields.DOC_ID].shape[0])
        self.slate_size = int(self._specs[fields.SLATE_DOCS][fields.DOC_ID].shape[1])
        self._step = tf.function(self._evaluated_step, autograph=False)

    @property
    def documents(self) -> Mapping[str, np.ndarray]:
        """Fields of the documents, the first axis in the order of `document_ids`."""
        return {name: np.asarray(field) for name, field in self._documents.as_dict.items()}

    @property
    def document_ids(self) -> np.ndarray:
        """Ids of the documents; int32 [D]."""
        return self._ids

    def places_of(self, slates: np.ndarray) -> np.ndarray:
        """Return the documents' indices, int32 of the same shape.

        Args:
          slates: int, document ids of any shape.

        Raises:
          InvalidInputError: if an id is not among the documents.
        """
        inside = (slates >= 0) & (slates < len(self._place_of))
        places = np.where(inside, self._place_of[np.where(inside, slates, 0)], -1)
        if (places < 0).any():
            raise validation.InvalidInputError(
                f"the log has the document {slates[places < 0].flat[0]}, which the policy's corpus of "
                f"{len(self._ids)} documents does not have"
            )
        return places

    def replay(self, histories: LoggedHistories, seed: int = 0) -> Replayed:
        """Replay users in batches of the network's size.

        Args:
          histories: logged users, any number of at least 1.
          seed: seed of the slates that the policy draws.

        Raises:
          InvalidInputError: if slates have another size than the policy's, or an id is not among the documents.
        """
        num_users, _, slate_size = histories.slates.shape
        if slate_size != self.slate_size:
            raise validation.InvalidInputError(
                f"the log has slates of {slate_size} documents, and the policy shows {self.slate_size}"
            )
        places = self.places_of(histories.slates)
        parts = []
        for batch, first in enumerate(range(0, num_users, self.num_users)):
            users = np.minimum(np.arange(first, first + self.num_users), num_users - 1)  # surplus users repeat the last
            counting = min(self.num_users, num_users - first)
            parts.append(
                self._replay_batch(
                    LoggedHistories(*(field[users] for field in histories)), places[users], seed, batch, counting
                )
            )
        log_propensities, prefix, item, sampled = zip(*parts)
        return Replayed(
            np.concatenate(log_propensities),
            None if prefix[0] is None else np.concatenate(prefix),
            None if item[0] is None else np.concatenate(item),
            np.concatenate(sampled, axis=1),
        )

    def _replay_batch(
        self, histories: LoggedHistories, places: np.ndarray, seed: int, batch: int, counting: int
    ) -> tuple[Any, ...]:
        state = self._first_state
        results = []
        for step in range(places.shape[1]):
            clicked = histories.choices[:, step] < self.slate_size
            times = np.where(clicked, histories.consumed_times[:, step], NO_CLICK_TIME)
            keys = tf.constant(
                np.array(
                    [seeding.stateless_seed(seed, "offline", batch, step, draw) for draw in range(self._num_samples)],
                    np.int32,
                ).reshape(self._num_samples, 2)
            )
            result, state = self._step(
                state,
                tf.constant(places[:, step]),
                tf.constant(histories.choices[:, step], tf.int32),
                tf.constant(times, tf.float32),
                keys,
            )
            results.append({name: tensor.numpy() for name, tensor in result.items()})
        ranks = np.stack([result["ranks"] for result in results], axis=2)[:, :counting]
        by_slot = {
            name: np.stack([result[name] for result in results], axis=1)[:counting]
            for name in ("log_prob", "prefix", "item")
            if name in results[0]
        }
        prefix, item = by_slot.get("prefix"), by_slot.get("item")
        log_propensities = by_slot["log_prob"].astype(np.float64) if prefix is None else prefix[..., -1]  # float64
        return log_propensities, prefix, item, self._ids[ranks]

    def _evaluated_step(
        self, state: Any, places: tf.Tensor, choices: tf.Tensor, times: tf.Tensor, keys: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
        observed = {fields.RECOMMENDER_STATE: state, fields.AVAILABLE_DOCS: self._documents.as_dict}
        names = [dependency.variable_name for dependency in self._slate.value.dependencies]
        inputs = [self._completed(name, observed.get(name, {})) for name in names]
        with seeding.replayed_draws([places]) as drawn:
            shown = self._slate.value.fn(*inputs)
        result = {}
        if self.is_deterministic:
            only = tf.convert_to_tensor(shown.get(fields.DOC_RANKS))
            same = tf.reduce_all(only == places, axis=-1)
            result["log_prob"] = tf.where(same, 0.0, -float("inf"))
            result["ranks"] = tf.tile(only[tf.newaxis], [self._num_samples, 1, 1])
        else:
            distribution = drawn.random_variables[0].distribution
            result["log_prob"] = tf.cast(distribution.log_prob(places), tf.float32)
            draws = [distribution.sample(seed=keys[draw]) for draw in range(self._num_samples)]
            result["ranks"] = tf.stack(draws) if draws else tf.zeros((0, *places.shape), tf.int32)
            if isinstance(distribution, TopKPlackettLuce):
                result["prefix"] = distribution.prefix_log_probs(places)
                result["item"] = tf.math.log(distribution.slot_probabilities(places))
        logged = {fields.CHOICE: choices, fields.CONSUMED_TIME: times}
        slate = {
            **{name: tf.gather(field, places) for name, field in self._documents.as_dict.items()},
            fields.DOC_RANKS: places,
        }
        known = {fields.USER_RESPONSE: logged, fields.SLATE_DOCS: slate, fields.RECOMMENDER_STATE: state}
        following = self._state.value.fn(
            *(
                self._completed(dependency.variable_name, known[dependency.variable_name])
                for dependency in self._state.value.dependencies
            )
        )
        return result, following.map(tf.convert_to_tensor).as_dict

    def _completed(self, name: str, known: Mapping[str, tf.Tensor]) -> Value:
        """Return a value with all fields; fields that nothing reads are zeros."""
        return Value(
            **{
                field: known[field] if field in known else tf.zeros(spec.shape, spec.dtype)
                for field, spec in self._specs[name].items()
            }
        )


def _raise_if_not_logged(network: Any, runtime: SeededRuntime) -> None:
    """Raise if propensities are unknown, or slates or the recommender's state read what a log does not have."""
    slate, state = runtime.flow(fields.SLATE_DOCS), runtime.flow(fields.RECOMMENDER_STATE)
    logged = {
        fields.RECOMMENDER_STATE: None,
        fields.AVAILABLE_DOCS: None,
        fields.SLATE_DOCS: {*fields.DOC_FIELDS, fields.DOC_RANKS},
        fields.USER_RESPONSE: set(_LOGGED_RESPONSES),
    }
    for flow, reader in ((slate, "slates"), (state, "recommender's state")):
        for name, names in flow.reads.items():
            allowed = logged.get(name, set())
            unknown = [] if allowed is None else sorted(set(names) - allowed)
            if unknown:
                raise validation.InvalidInputError(
                    f"the policy's {reader} read {unknown[0]!r} of {name!r}, which a log does not have: the policy "
                    "cannot be evaluated on a log"
                )
    unknown_because = SlatePropensities(network.variables, runtime).unknown_because
    if unknown_because is not None:
        raise validation.InvalidInputError(f"the policy cannot be evaluated on a log: {unknown_because}")
