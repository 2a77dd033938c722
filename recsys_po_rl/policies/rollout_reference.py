"""One-step rollout of the learned policy under a particle belief: what can still be gained from the same histories."""

import functools
from typing import Any

import edward2 as ed
import tensorflow as tf
from recsim_ng.core.value import Config, Value, ValueSpec

from recsys_po_rl import fields, gin_config
from recsys_po_rl.common import protocols, validation
from recsys_po_rl.distributions.top_k_plackett_luce import TopKPlackettLuce
from recsys_po_rl.policies.base import BuiltPolicy, LeftOutError, Policy, PolicyContext, SearchCost
from recsys_po_rl.policies.belief_reference import BeliefRecommender, BeliefReference
from recsys_po_rl.simulation import seeding
from recsys_po_rl.user import NO_CLICK_TIME

BASE_STATE = "base"  # prefix of the base policy's state


def future_rewards(
    user: protocols.UserDynamics,
    base: Any,
    docs: Value,
    slates: tf.Tensor,
    interest: tf.Tensor,
    state: dict[str, tf.Tensor],
    uniforms: tf.Tensor,
    num_steps: tf.Tensor,
) -> tf.Tensor:
    """Simulate F futures of each user: a given slate now, the slates of a base policy after it.

    Args:
      user: dynamics of the users, see `InterestEvolutionUser.dynamics`.
      base: recommender of U * F users whose slates are random, see `CollabFilteringRecommender.slate_distribution`;
        their most probable slates are shown.
      docs: the D documents.
      slates: int32 [U, S], indices of the documents that are shown now.
      interest: float32 [U, F, K], interest in each future.
      state: fields of the base's state, [U * F, ...].
      uniforms: float32 [U, F, T], in [0, 1): the choice of each step, by the inverse of its distribution function.
      num_steps: int32 scalar, responses that are left, at most T.

    Returns:
      float32 [U, F], consumed time summed over these responses.
    """
    shape = interest.shape[:2]
    num_flat = shape[0] * shape[1]

    def flat(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reshape(tensor, (num_flat, *tensor.shape[2:]))

    def body(
        step: tf.Tensor, interest: tf.Tensor, state: dict[str, tf.Tensor], ranks: tf.Tensor, total: tf.Tensor
    ) -> Any:
        slate = docs.map(lambda field: tf.gather(field, ranks))
        bounds = tf.cumsum(tf.nn.softmax(user.choice_logits(interest, slate)), axis=-1)[..., :-1]
        choice = tf.reduce_sum(tf.cast(uniforms[..., step, tf.newaxis] >= bounds, tf.int32), axis=-1)
        num_slots = ranks.shape[-1]
        clicked = choice < num_slots
        slot = tf.minimum(choice, num_slots - 1)
        consumed = slate.map(lambda field: tf.gather(field, slot, batch_dims=2))
        time = user.consumed_time(consumed)
        moved = tf.where(
            clicked[..., tf.newaxis], user.next_interest(interest, consumed), user.next_interest(interest, None)
        )
        response = Value(
            **{fields.CHOICE: flat(choice), fields.CONSUMED_TIME: flat(tf.where(clicked, time, NO_CLICK_TIME))}
        )
        with seeding.deterministic_draws_only(fields.RECOMMENDER_STATE):
            following = base.next_state(Value(**state), response, slate.map(flat)).map(tf.convert_to_tensor)
        shown = base.slate_distribution(following, docs).mode()
        return step + 1, moved, following.as_dict, tf.reshape(shown, ranks.shape), total + tf.where(clicked, time, 0.0)

    ranks = tf.repeat(slates[:, tf.newaxis], shape[1], axis=1)
    loop = (tf.constant(0), interest, state, ranks, tf.zeros(shape))
    return tf.while_loop(lambda step, *_: step < num_steps, body, loop)[-1]


def improved(rewards: tf.Tensor, min_standard_errors: float) -> tf.Tensor:
    """Choose for each user the candidate with the largest mean, if it is significantly above the first.

    Args:
      rewards: float32 [C, U, F]; future f of a user has the same random numbers under all candidates.
      min_standard_errors: a candidate replaces the first if the mean of its paired differences is more than this many
        standard errors above 0.

    Returns:
      int32 [U], indices of candidates.
    """
    differences = rewards - rewards[:1]
    means = tf.reduce_mean(differences, axis=-1)
    num_futures = rewards.shape[-1]
    variances = tf.math.reduce_variance(differences, axis=-1) / max(num_futures - 1, 1)
    significant = means > min_standard_errors * tf.sqrt(variances)
    return tf.argmax(tf.where(significant, means, 0.0), axis=0, output_type=tf.int32)


class RolloutRecommender(BeliefRecommender):
    """Recommender that shows the best of several slates, each simulated with a base policy after it.

    The futures are those of users drawn from the belief. By the policy-improvement property the policy's value is at
    least that of the base, up to the errors of sampling and of the belief (Bertsekas 2020, "Rollout, Policy Iteration,
    and Distributed Reinforcement Learning", chapter 2). Candidates are the base's most probable slate, the slate of
    `BeliefRecommender`, and the base's slate with one document exchanged for one of the next best.

    State fields, in addition to those of `BeliefRecommender`:
      base.*: state of the base policy.
    """

    def __init__(
        self,
        config: Config,
        base: Any = None,
        future_base: Any = None,
        num_candidates: int = 16,
        num_futures: int = 16,
        min_standard_errors: float = 2.0,
        name: str = "Recommender",
        **belief: Any,
    ) -> None:
        """Create the entity.

        Args:
          config: as in `HistoryRecommender`.
          base: recommender of U users with `slate_distribution`.
          future_base: the same for U * num_futures users.
          num_candidates: C, at least 2: the base's slate, the belief's, and up to C - 2 exchanges, as long as there are
            other documents.
          num_futures: F, simulated for each candidate, at least 2.
          min_standard_errors: see `improved`, at least 0.
          name: name of the entity.
          **belief: further arguments of `BeliefRecommender`.

        Raises:
          InvalidInputError: if an argument is out of bounds.
        """
        super().__init__(config, name=name, **belief)
        owner = type(self).__name__
        self._base = base
        self._future_base = future_base
        self._num_candidates = validation.integer(f"{owner}: num_candidates", num_candidates, 2)
        self._num_futures = validation.integer(f"{owner}: num_futures", num_futures, 2)
        self._min_standard_errors = validation.number(f"{owner}: min_standard_errors", min_standard_errors, 0.0)

    def initial_state(self) -> Value:
        """Return the initial belief and the base's initial state."""
        return super().initial_state().union(self._base.initial_state().prefixed_with(BASE_STATE))

    def next_state(self, previous_state: Value, user_response: Value, slate_docs: Value) -> Value:
        """Update the belief and the base's state."""
        following = self._base.next_state(previous_state.get(BASE_STATE), user_response, slate_docs)
        return super().next_state(previous_state, user_response, slate_docs).union(following.prefixed_with(BASE_STATE))

    def slate_ranks(self, previous_state: Value, user_obs: Value, available_docs: Value) -> Any:
        """Return the candidate with the best simulated future; int32 [U, S]."""
        docs = available_docs.map(tf.convert_to_tensor)
        base_state = previous_state.get(BASE_STATE).map(tf.convert_to_tensor)
        of_belief = super().slate_ranks(previous_state, user_obs, available_docs)
        candidates = self._candidates(base_state, docs, of_belief)
        drawn = tf.convert_to_tensor(
            ed.Normal(loc=tf.zeros((self._num_users, self._num_futures, self._horizon)), scale=1.0)
        )
        step = tf.reduce_max(tf.convert_to_tensor(previous_state.get(fields.STEP)))
        simulate = functools.partial(
            future_rewards,
            self._dynamics,
            self._future_base,
            docs,
            interest=self._particles_of_futures(previous_state),
            state={name: tf.repeat(field, self._num_futures, axis=0) for name, field in base_state.as_dict.items()},
            uniforms=0.5 * tf.math.erfc(-drawn / 2.0**0.5),
            num_steps=tf.maximum(self._horizon - step, 0),
        )
        rewards = tf.map_fn(
            lambda slates: simulate(slates=slates),
            candidates,
            fn_output_signature=tf.TensorSpec((self._num_users, self._num_futures), tf.float32),
            parallel_iterations=1,
        )
        chosen = improved(rewards, self._min_standard_errors)
        return tf.gather(tf.transpose(candidates, (1, 0, 2)), chosen, batch_dims=1)

    def specs(self) -> ValueSpec:
        """Return the specs of `state` and `slate`."""
        base = self._base.specs().get("state").prefixed_with(BASE_STATE)
        return super().specs().union(base.prefixed_with("state"))

    def _candidates(self, base_state: Value, docs: Value, of_belief: tf.Tensor) -> tf.Tensor:
        """Return the candidates; int32 [C, U, S], the base's slate first."""
        given = self._base.slate_distribution(base_state, docs).parameters
        num_docs = docs.get(fields.DOC_ID).shape[0]
        num_exchanged = min(self._num_candidates - 2, self._slate_size * (num_docs - self._slate_size))
        num_next = -(-num_exchanged // self._slate_size)
        ranked = TopKPlackettLuce(given["logits"], self._slate_size + num_next, columns=given["columns"]).mode()
        slate = ranked[:, : self._slate_size]
        candidates = [slate, of_belief]
        for number in range(num_exchanged):
            slot = self._slate_size - 1 - number % self._slate_size
            other = ranked[:, self._slate_size + number // self._slate_size]
            candidates.append(tf.concat([slate[:, :slot], other[:, tf.newaxis], slate[:, slot + 1 :]], axis=1))
        return tf.stack(candidates)

    def _particles_of_futures(self, previous_state: Value) -> tf.Tensor:
        """Return systematically drawn particles; float32 [U, F, K]."""
        belief = self._belief(previous_state)
        total = tf.cumsum(tf.exp(belief.log_weights), axis=-1)
        comb = (tf.range(self._num_futures, dtype=tf.float32) + 0.5) / self._num_futures
        passed = tf.reduce_sum(tf.cast(total[:, tf.newaxis] <= comb[:, tf.newaxis], tf.int32), axis=-1)
        return tf.gather(belief.particles, tf.minimum(passed, self._num_particles - 1), batch_dims=1)


@gin_config.configurable(name="rollout_reference")
class RolloutReference(Policy):
    """Policy that improves on `learned_greedy` by one-step rollouts under a particle belief.

    See `RolloutRecommender`; its base shows the best-scored documents of the learned policy, as `learned_greedy` does.

    The belief and the value for its slates are those of `BeliefReference`, gin's bindings included. The policy knows
    the users' dynamics and shows what can still be gained from the same histories. Each evaluated
    user-step costs num_candidates * num_futures simulated users for the rest of the horizon: with 16 of each, 500 users
    and 100 steps that is 6.5e8 user-steps.
    """

    def __init__(
        self,
        num_candidates: int = 16,
        num_futures: int = 16,
        min_standard_errors: float = 2.0,
    ) -> None:
        """Validate the arguments.

        Args:
          num_candidates: slates compared at each step, at least 2.
          num_futures: futures simulated for each of them, at least 2.
          min_standard_errors: how clearly a slate must be better than the base's, at least 0, see `improved`.

        Raises:
          InvalidInputError: if a number is out of bounds.
        """
        self.num_candidates = validation.integer(f"{self.name}: num_candidates", num_candidates, 2)
        self.num_futures = validation.integer(f"{self.name}: num_futures", num_futures, 2)
        self.min_standard_errors = validation.number(f"{self.name}: min_standard_errors", min_standard_errors, 0.0)
        self._belief = BeliefReference()

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Compute the value for the belief's slates; see `Policy.build`.

        Left out if no policy was learned here, its slates have no distribution, the user entity does not define its
        dynamics or has parameters of its own for each of a batch's users, or the corpus is not static.
        """
        context.documents()
        base = context.learned_network().recommender
        if not hasattr(base, "slate_distribution"):
            raise LeftOutError(f"{type(base).__name__} has no slate_distribution: its slates cannot be simulated")
        ctor = functools.partial(
            RolloutRecommender,
            base=base,
            future_base=self._future_base(context),
            num_candidates=self.num_candidates,
            num_futures=self.num_futures,
            min_standard_errors=self.min_standard_errors,
            **self._belief.belief_arguments(context),
        )
        details = {"num_candidates": self.num_candidates, "num_futures": self.num_futures}
        return BuiltPolicy(context.network(recommender_ctor=ctor), details)

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of computing the value and of an evaluated user-step; see `Policy.search_cost`."""
        simulated = self.num_candidates * self.num_futures * context.horizon / 2.0
        return self._belief.search_cost(context)._replace(relative_cost=simulated)

    def _future_base(self, context: PolicyContext) -> Any:
        try:
            return context.resized(context.batch_size * self.num_futures).learned_network().recommender
        except validation.InvalidInputError as error:
            raise LeftOutError(gin_config.first_line(error)) from error
