"""Explicit stateless seeds for all draws through Edward2.

Entities draw with Edward2 as usual, for instance `ed.Normal(...)`. Inside `seeded_draws` every Edward2 random variable
is rebuilt with a value drawn from a key, the name of the network variable that is evaluated and the index of the draw
within its value function. Inside `replayed_draws` it takes a recorded value instead.
"""

import contextlib
import dataclasses
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

import edward2 as ed
import numpy as np
import tensorflow as tf
from recsim_ng.core.value import Value
from recsim_ng.lib.tensorflow import entity

from recsys_po_rl.common import validation
from recsys_po_rl.simulation import random_ops

# Ops that draw from hidden state: their numbers would differ under XLA and in repeated runs.
_STATEFUL_RANDOM_OP = re.compile(
    r"^(Random(?!Dataset|GammaGrad)\w*|TruncatedNormal|ParameterizedTruncatedNormal|Multinomial|\w*CandidateSampler"
    r"|Stateful(Uniform|StandardNormal|TruncatedNormal|RandomBinomial)\w*|RngSkip|RngReadAndSkip)$"
)


class Keys(NamedTuple):
    """Seeds of one batch of users, each int32 [2]; equal keys give equal draws."""

    shared: tf.Tensor  # variables of the corpus that no user influences: one world for all batches
    world: tf.Tensor  # users and all other variables except the policy's
    policy: tf.Tensor  # the recommender and its slates


def stateless_seed(*path: Union[int, str]) -> np.ndarray:
    """Return an int32 [2] seed that depends on every element of `path` and is the same on every machine.

    Args:
      *path: integers of at least 0, and names.
    """
    # The length comes first because a seed sequence ignores trailing zeros.
    entropy = [len(path)] + [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.SeedSequence(entropy).generate_state(2).view(np.int32)


def make_keys(seed: int, *path: Union[int, str], batch: int = 0, policy_seed: Optional[int] = None) -> Keys:
    """Return the keys of a batch of users.

    Args:
      seed: seed of the run, at least 0.
      *path: purpose of the users, for instance ("training", 17); different paths give different users.
      batch: number of the batch in its population.
      policy_seed: seed of the policy's draws; `seed` if None.

    Raises:
      InvalidInputError: if a seed is not an integer of at least 0.
    """
    validation.integer("seed", seed, 0)
    policy = seed if policy_seed is None else validation.integer("policy_seed", policy_seed, 0)
    return Keys(
        shared=tf.constant(stateless_seed(seed, "shared", *path)),
        world=tf.constant(stateless_seed(seed, "world", *path, batch)),
        policy=tf.constant(stateless_seed(policy, "policy", *path, batch)),
    )


@dataclasses.dataclass
class Draws:
    """Random variables drawn within a block, in order."""

    random_variables: list[ed.RandomVariable] = dataclasses.field(default_factory=list)

    @property
    def parameters(self) -> list[tf.Tensor]:
        """Tensors that define the distributions."""
        tensors: list[tf.Tensor] = []
        for drawn in self.random_variables:
            tensors.extend(_parameter_tensors(drawn.distribution))
        return tensors

    @property
    def random_parameters(self) -> list[tf.Tensor]:
        """Parameters of non-deterministic distributions, and witnesses of invalid values of draws."""
        drawn = [
            variable for variable in self.random_variables if not random_ops.is_deterministic(variable.distribution)
        ]
        witnesses = [
            variable.distribution.nan_witness(variable.value)
            for variable in drawn
            if _has_witness(variable.distribution)
        ]
        return [*Draws(drawn).parameters, *witnesses]

    @property
    def nan_witnesses(self) -> list[tf.Tensor]:
        """Tensors with a NaN under XLA if a parameter has one; small ones if the distribution defines `nan_witness`."""
        tensors: list[tf.Tensor] = []
        for drawn in self.random_variables:
            if _has_witness(drawn.distribution):
                tensors.append(drawn.distribution.nan_witness(drawn.value))
            elif not random_ops.is_deterministic(drawn.distribution):
                tensors.extend(_parameter_tensors(drawn.distribution))
        return tensors

    def field_names(self, result: Value) -> list[Optional[str]]:
        """Return, for each random variable, the field of `result` that holds it; None if no field does."""
        holder = {id(field): name for name, field in result.as_dict.items()}
        return [holder.get(id(drawn)) for drawn in self.random_variables]


def seed_of_draw(key: tf.Tensor, name: str, place: int) -> tf.Tensor:
    """Return the seed, int32 [2], of a network variable's draw at index `place`, from 0; key int32 [2]."""
    return random_ops.fold_in(key, zlib.crc32(f"{name}/{place}".encode()) & 0x7FFFFFFF)


@contextlib.contextmanager
def seeded_draws(key: Any, name: str) -> Iterator[Draws]:
    """Draw the Edward2 random variables of the block from `key`, `name` and their index in the block.

    Args:
      key: int32 [2].
      name: name of the network variable (or of anything else that draws).
    """
    key = tf.convert_to_tensor(key)

    def draw(distribution: Any, sample_shape: Any, place: int) -> tf.Tensor:
        return random_ops.sample(distribution, sample_shape, lambda: seed_of_draw(key, name, place))

    with _traced(draw) as draws:
        yield draws


@contextlib.contextmanager
def placeholder_draws(key: Any, name: str) -> Iterator[Draws]:
    """Draw as `seeded_draws` does, with zeros in place of draws that are computed from uniform numbers.

    The zeros depend on the distribution's parameters, as the draws would. That suffices for the data flow, and takes
    one operation instead of about a hundred.

    Args:
      key: int32 [2].
      name: name of the network variable.
    """
    key = tf.convert_to_tensor(key)

    def draw(distribution: Any, sample_shape: Any, place: int) -> tf.Tensor:
        shape = distribution.batch_shape.concatenate(distribution.event_shape)
        is_simple = isinstance(sample_shape, tuple) and not sample_shape and shape.is_fully_defined()
        if not is_simple or not random_ops.is_drawn_from_uniforms(distribution):
            return random_ops.sample(distribution, sample_shape, lambda: seed_of_draw(key, name, place))
        zeros = tf.zeros(shape, distribution.dtype)
        return tf.raw_ops.IdentityN(input=[zeros, *_parameter_tensors(distribution)])[0]

    with _traced(draw) as draws:
        yield draws


@contextlib.contextmanager
def replayed_draws(values: Sequence[tf.Tensor]) -> Iterator[Draws]:
    """Assign the given values to the Edward2 random variables of the block, in order."""
    with _traced(lambda distribution, sample_shape, place: values[place]) as draws:
        yield draws


@contextlib.contextmanager
def deterministic_draws_only(name: str) -> Iterator[Draws]:
    """Allow only deterministic random variables within the block; each takes its only value.

    Args:
      name: name of the network variable, for the message.

    Raises:
      NotImplementedError: at a random variable that can take more than one value.
    """

    def draw(distribution: Any, sample_shape: Any, place: int) -> tf.Tensor:
        del place
        if not random_ops.is_deterministic(distribution):
            raise NotImplementedError(
                f"{name!r} depends on weights and draws at random ({type(distribution).__name__}): its values cannot "
                "be computed again"
            )
        return distribution.sample(sample_shape, seed=tf.zeros((2,), tf.int32))

    with _traced(draw) as draws:
        yield draws


@contextlib.contextmanager
def _traced(draw: Callable[[Any, Any, int], tf.Tensor]) -> Iterator[Draws]:
    draws = Draws()

    def tracer(constructor: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], entity.Entity):  # a traced entity constructor, not a random variable
            return constructor(*args, **kwargs)
        if kwargs.get("value") is not None:  # an observed value is not drawn
            return constructor(*args, **kwargs)
        sample_shape = kwargs.pop("sample_shape", ())
        kwargs.pop("value", None)
        distribution_class = getattr(constructor, "__wrapped__", None)
        if distribution_class is not None:
            distribution = distribution_class(*args, **kwargs)
        else:  # a manually traced function: given a value, it builds its distribution without drawing
            distribution = constructor(*args, value=0, **kwargs).distribution
        drawn = ed.RandomVariable(
            distribution,
            sample_shape=sample_shape,
            value=draw(distribution, sample_shape, len(draws.random_variables)),
        )
        draws.random_variables.append(drawn)
        return drawn

    with ed.trace(tracer):
        yield draws


def _has_witness(distribution: Any) -> bool:
    return hasattr(distribution, "nan_witness")


def _parameter_tensors(distribution: Any) -> list[tf.Tensor]:
    tensors: list[tf.Tensor] = []
    for parameter in distribution.parameters.values():
        if tf.is_tensor(parameter):
            tensors.append(tf.convert_to_tensor(parameter))
        elif isinstance(parameter, ed.RandomVariable):
            tensors.append(parameter.value)
        elif hasattr(parameter, "parameters") and hasattr(parameter, "log_prob"):  # a distribution inside another
            tensors.extend(_parameter_tensors(parameter))
    return tensors


def tensors_of(val: Value) -> list[tf.Tensor]:
    """Return the fields of a value as tensors."""
    return [tf.convert_to_tensor(field) for field in val.as_dict.values()]


def reached(outputs: Iterable[tf.Tensor], stop: Mapping[Any, Any]) -> list[tf.Tensor]:
    """Return all tensors of the graph on which `outputs` depend; the search ends at tensors in `stop` (refs)."""
    seen: dict[Any, tf.Tensor] = {}
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor.ref() in seen:
            continue
        seen[tensor.ref()] = tensor
        if tensor.ref() not in stop and not _is_eager(tensor):
            waiting.extend(tensor.op.inputs)
    return list(seen.values())


def reads_variables(outputs: Iterable[tf.Tensor], stop: Mapping[Any, Any]) -> bool:
    """Return whether, in a graph, `outputs` depend on a tf.Variable; the search ends at tensors in `stop` (refs)."""
    return any(
        not _is_eager(tensor) and tensor.dtype == tf.resource and tensor.op.type == "Placeholder"
        for tensor in reached(outputs, stop)
    )


def refuse_stateful_draws(name: str, result: Value, dependencies: Sequence[Value]) -> None:
    """Raise, while a graph is traced, if a value is computed from hidden random state.

    Args:
      name: name of the network variable, for the message.
      result: value of the variable.
      dependencies: values from which `result` is computed.

    Raises:
      RuntimeError: one line that names the variable and the op.
    """
    graph = tf.compat.v1.get_default_graph()
    stop = {tensor.ref(): True for val in dependencies for tensor in tensors_of(val)}
    for tensor in reached(tensors_of(result), stop):
        if _is_eager(tensor) or tensor.op.graph is not graph:
            continue
        for kind in {tensor.op.type, *_op_types_called(tensor.op, graph)}:
            if _STATEFUL_RANDOM_OP.match(kind):
                raise RuntimeError(
                    f"the value of {name!r} draws through the stateful random op {kind}, whose numbers cannot be "
                    "repeated: draw through Edward2, or through tf.random.stateless_* with a seed"
                )


def _is_eager(tensor: tf.Tensor) -> bool:
    return hasattr(tensor, "numpy")  # symbolic tensors lack this attribute


def _op_types_called(operation: Any, graph: Any) -> set[str]:
    """Return the types of the ops inside the functions that an op calls (loops, conditionals, nested tf.functions)."""
    waiting = [attribute.func.name for attribute in operation.node_def.attr.values() if attribute.HasField("func")]
    if not waiting:
        return set()
    library = {function.signature.name: function for function in graph.as_graph_def().library.function}
    types: set[str] = set()
    seen: set[str] = set()
    while waiting:
        called = waiting.pop()
        if called in seen or called not in library:
            continue
        seen.add(called)
        for node in library[called].node_def:
            types.add(node.op)
            waiting.extend(attribute.func.name for attribute in node.attr.values() if attribute.HasField("func"))
    return types
