"""Exact propensities of recorded slates: their probability under the policy that showed them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Optional

import numpy as np
import tensorflow as tf
from recsim_ng.core import variable
from recsim_ng.core.value import Value

from recsys_po_rl import fields
from recsys_po_rl.distributions.top_k_plackett_luce import TopKPlackettLuce
from recsys_po_rl.simulation import hoisting, seeding
from recsys_po_rl.simulation.runtime import SeededRuntime

_LEAST = np.finfo(np.float64).tiny  # a slate that was shown has no propensity of 0, which a smaller number would become


class Propensities(NamedTuple):
    """Probabilities of slates given all that the policy observes; in (0, 1], NaN: unknown."""

    joint: np.ndarray  # float64 [T, U], of the ordered slate
    prefix: np.ndarray  # float64 [T, U, S], of the documents up to this slot, in order
    item: np.ndarray  # float64 [T, U, S], of this document in this slot, whatever the other slots hold


class SlatePropensities:
    """Propensities of the slates of a network, for any recommender entity.

    The slate's own value function is evaluated again with recorded inputs; the draw is intercepted to obtain its
    distribution. Propensities are

    * 1 if the slate is determined by what the recommender observes and remembers,
    * exact if the slate is one draw of `TopKPlackettLuce`, the places of its documents (`item` is NaN for slots whose
      marginal has too many terms, see `slate_marginals.slot_log_probs`),
    * of the whole slate alone (`joint`, and `prefix` of the last slot) if it is one draw of another distribution,
    * unknown otherwise: if the slate is computed from further draws, or the recommender's state draws at random.

    A policy that acts outside of the network, such as a callable, cannot be recognised here.

    Attributes:
      unknown_because: reason for which propensities are unknown, None if they are known.
    """

    def __init__(self, variables: Sequence[variable.Variable], runtime: SeededRuntime) -> None:
        """Determine the fields that the slate's distribution reads.

        Args:
          variables: the network's variables.
          runtime: runtime of the network.
        """
        by_name = {var.name: var for var in variables}
        self._slate = by_name[fields.SLATE_DOCS]
        flow = runtime.flow(fields.SLATE_DOCS)
        self._is_random = bool(flow.random_fields)
        self.unknown_because = self._unknown_because(flow.random_fields, by_name, runtime)
        self._dependencies = [dependency.variable_name for dependency in self._slate.value.dependencies]
        self._specs = {name: runtime.flow(name).field_specs for name in self._dependencies}
        self.record: dict[str, list[str]] = {fields.SLATE_DOCS: [fields.DOC_RANKS]}
        if self._is_random and self.unknown_because is None:
            for name, read in flow.draw_reads.items():
                self.record[name] = sorted({*self.record.get(name, ()), *read})
        self._reads = {name: self.record.get(name, []) for name in self._dependencies}
        self._compiled = tf.function(functools.partial(self._all_steps), autograph=False, reduce_retracing=True)

    def _unknown_because(
        self, random_fields: Sequence[Optional[str]], by_name: Mapping[str, Any], runtime: SeededRuntime
    ) -> Optional[str]:
        if any(not dependency.on_current_value for dependency in self._slate.value.dependencies):
            return "the slate depends on a previous value"
        if self._is_random and list(random_fields) != [fields.DOC_RANKS]:
            return f"the slate is computed from other draws than of its field {fields.DOC_RANKS!r}"
        state = by_name.get(fields.RECOMMENDER_STATE)
        if state is None:
            return None
        return None if self._is_certain(state, runtime) else "the recommender's state draws at random"

    def _is_certain(self, state: Any, runtime: SeededRuntime) -> bool:
        """Return whether the recommender's state draws nothing that can take more than one value."""

        def evaluated_once() -> None:
            with seeding.deterministic_draws_only(fields.RECOMMENDER_STATE):
                for value in (state.initial_value, state.value):
                    names = [dependency.variable_name for dependency in value.dependencies]
                    value.fn(*(_completed(runtime.flow(name).field_specs, {}) for name in names))

        try:
            tf.function(functools.partial(evaluated_once), autograph=False).get_concrete_function()
        except NotImplementedError:
            return False
        return True

    def of_slates(self, trajectory: Mapping[str, Any]) -> Propensities:
        """Compute the propensities of a trajectory's slates.

        Args:
          trajectory: stacked fields [T, U, ...] by variable, with those of `record`.

        Returns:
          Propensities of T steps.
        """
        ranks = tf.convert_to_tensor(trajectory[fields.SLATE_DOCS].get(fields.DOC_RANKS))
        shape = tuple(int(size) for size in ranks.shape)
        if self.unknown_because is not None or not self._is_random:
            value = 1.0 if self.unknown_because is None else np.nan
            return Propensities(np.full(shape[:2], value), np.full(shape, value), np.full(shape, value))
        inputs = [
            {field: tf.convert_to_tensor(trajectory[name].get(field)) for field in self._reads[name]}
            for name in self._dependencies
        ]
        prefix, item = (result.numpy() for result in self._compiled(inputs, ranks))
        prefix, item = (np.clip(probability, _LEAST, 1.0) for probability in (np.exp(prefix), item))
        return Propensities(prefix[..., -1], prefix, item)

    def _all_steps(self, inputs: list[dict[str, tf.Tensor]], ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return log-probabilities of prefixes and probabilities of items; float64 [T, U, S] each."""
        horizon = tf.shape(ranks)[0]
        arrays = [tf.TensorArray(tf.float64, size=horizon, element_shape=ranks.shape[1:]) for _ in range(2)]

        def body(step: tf.Tensor, prefixes: Any, items: Any) -> Any:
            prefix, item = self._one_step(
                [{f: field[step] for f, field in read.items()} for read in inputs], ranks[step]
            )
            return step + 1, prefixes.write(step, prefix), items.write(step, item)

        with hoisting.scope():
            _, prefixes, items = tf.while_loop(
                lambda step, *_: step < horizon, body, (tf.constant(0), *arrays), parallel_iterations=1
            )
        return prefixes.stack(), items.stack()

    def _one_step(self, inputs: Sequence[Mapping[str, tf.Tensor]], ranks: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values = [_completed(self._specs[name], recorded) for name, recorded in zip(self._dependencies, inputs)]
        with seeding.replayed_draws([ranks]) as replayed:
            self._slate.value.fn(*values)
        distribution = replayed.random_variables[0].distribution
        if isinstance(distribution, TopKPlackettLuce):
            return distribution.prefix_log_probs(ranks), distribution.slot_probabilities(ranks)
        unknown = tf.fill(tf.shape(ranks), tf.constant(np.nan, tf.float64))
        log_prob = tf.cast(distribution.log_prob(ranks), tf.float64)
        log_prob = tf.reduce_sum(log_prob, axis=list(range(1, len(log_prob.shape))))
        return tf.concat([unknown[:, :-1], log_prob[:, tf.newaxis]], axis=1), unknown


def _completed(specs: Mapping[str, tf.TensorSpec], recorded: Mapping[str, tf.Tensor]) -> Value:
    """Return a value with all fields; fields that were not recorded are zeros."""
    return Value(
        **{
            name: recorded[name] if name in recorded else tf.zeros(spec.shape, spec.dtype)
            for name, spec in specs.items()
        }
    )
