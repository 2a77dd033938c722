"""Policies from what an experiment is given: classes and gin references, instances, functions of a context."""

import collections
import contextlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Optional, Union

import gin
from recsim_ng.core import variable  # noqa: F401  (edward2 first)
from recsim_ng.entities.recommendation import recommender

from recsys_po_rl import gin_config, gin_state
from recsys_po_rl.common import validation
from recsys_po_rl.policies.base import BuiltPolicy, Policy, PolicyContext, SearchCost
from recsys_po_rl.simulation_config import SimulationNetwork

RecommenderCtor = Callable[..., Any]
PolicyFunction = Callable[[PolicyContext], Union[BuiltPolicy, SimulationNetwork, RecommenderCtor]]


def policies_from(given: Any, argument: str) -> list[Policy]:
    """Validate and construct the policies that an experiment is given.

    Args:
      given: a list of policy classes or gin references to them, policies, and functions of a `PolicyContext` that
        return a recommender constructor, a network or a `BuiltPolicy`.
      argument: name of the argument, for messages.

    Returns:
      The policies in order. Policies with equal names have their gin scopes as a prefix, as in
      `few/popular_by_clicks`.

    Raises:
      InvalidInputError: one line that names an invalid policy or a policy's invalid argument.
    """
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise validation.InvalidTypeError(f"{argument} must be a list of constructors, got {given!r}")
    names = _names(given, argument)
    return [_policy_from(entry, name, argument) for entry, name in zip(given, names)]


class ConfiguredPolicy(Policy):
    """Policy of a class or gin reference, which is constructed and built in the reference's gin scope.

    It is constructed anew for each use, so that gin records its parameters in every process that builds it.
    """

    def __init__(self, ctor: Callable[..., Policy], scope: str, name: str, **changes: Any) -> None:
        """Construct the policy once, which validates its arguments.

        Args:
          ctor: class of the policy, without the scope.
          scope: gin scope, names joined with "/"; empty: the scope that is active.
          name: name of the policy.
          **changes: arguments of the constructor that replace those of gin.

        Raises:
          InvalidInputError: if an argument is invalid.
          InvalidTypeError: if `ctor` does not return a policy.
        """
        self._ctor = ctor
        self._scope = scope
        self._name = name
        self._changes = changes
        policy = self._constructed()
        if not isinstance(policy, Policy):
            raise validation.InvalidTypeError(
                f"{name} must make a policy, such as @recsys_po_rl.uniform_random, got {type(policy).__name__}"
            )

    def _constructed(self) -> Policy:
        with self._in_scope():
            return self._ctor(**self._changes)

    def _in_scope(self) -> contextlib.AbstractContextManager[Any]:
        # As a reference does, a list replaces the active scope, and a text would be appended to it.
        return gin.config_scope(self._scope.split("/")) if self._scope else contextlib.nullcontext()

    @property
    def name(self) -> str:
        """Name in evaluation.json."""
        return self._name

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of the policy's constructor by name, those of gin included."""
        return self._constructed().arguments

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return the name: the parameters are among gin's bindings."""
        del describe
        return self._name

    def replaced(self, **changes: Any) -> "ConfiguredPolicy":
        """Return the policy with other arguments, in the same scope; see `Policy.replaced`."""
        return ConfiguredPolicy(self._ctor, self._scope, self._name, **{**self._changes, **changes})

    def validate(self, network_ctor: Callable[..., SimulationNetwork]) -> None:
        """Validate the policy; see `Policy.validate`."""
        with self._in_scope():
            self._constructed().validate(network_ctor)

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Build the policy; see `Policy.build`."""
        with self._in_scope():
            return self._constructed().build(context)

    def search_cost(self, context: PolicyContext) -> SearchCost:
        """Return the work of `build`; see `Policy.search_cost`."""
        return self._constructed().search_cost(context)


class FunctionPolicy(Policy):
    """Policy of a function of a `PolicyContext`; its search, if any, has no stated cost."""

    def __init__(self, function: PolicyFunction, name: str) -> None:
        """Store the arguments.

        Args:
          function: returns a recommender constructor, called with the config, a network of the context's batch size, or
            a `BuiltPolicy`. Extra parameters have defaults.
          name: name of the policy.
        """
        self._function = function
        self._name = name

    @property
    def name(self) -> str:
        """Name in evaluation.json."""
        return self._name

    def fingerprint(self, describe: Callable[[Any], str]) -> str:
        """Return the description of the function, or the name if that has a scope as its prefix."""
        return describe(self._function) if self._name == self._function.__name__ else self._name

    def build(self, context: PolicyContext) -> BuiltPolicy:
        """Call the function; see `Policy.build`."""
        result = self._function(context)
        if isinstance(result, BuiltPolicy):
            return result
        if isinstance(result, SimulationNetwork):
            return BuiltPolicy(result)
        return BuiltPolicy(context.network(recommender_ctor=result))


class _Named(NamedTuple):
    name: str
    scope: str


def _names(given: Sequence[Any], argument: str) -> list[str]:
    """Return the different names of policies, with gin scopes as a prefix of equal names."""
    named = [_Named(_name_of(entry, argument), gin_config.scope_of(entry)) for entry in given]
    counts = collections.Counter(name for name, _ in named)
    names = [f"{scope}/{name}" if counts[name] > 1 and scope else name for name, scope in named]
    if len(set(names)) != len(names):
        raise validation.InvalidInputError(
            f"{argument} must have different names, or gin scopes as in "
            f"@few/{names[0].rpartition('/')[2]}, got {', '.join(names)}"
        )
    return names


def _name_of(given: Any, argument: str) -> str:
    if isinstance(given, Policy):
        return given.name
    validation.constructor(f"{argument}: each", given)
    registered = gin_state.name_of(gin_config.without_scope(given)) if isinstance(given, type) else None
    name: Optional[str] = registered or getattr(given, "__name__", None)
    if name is None:
        raise validation.InvalidTypeError(
            f"{argument}: each must have a name, a __name__, got {given!r}; a function around it has one"
        )
    return name


def _policy_from(given: Any, name: str, argument: str) -> Policy:
    if isinstance(given, Policy):
        return given
    if isinstance(given, type) and issubclass(given, recommender.BaseRecommender):
        raise validation.InvalidTypeError(
            f"{argument}: {given.__name__} is a recommender; a policy builds a network with one, as "
            "@recsys_po_rl.uniform_random does"
        )
    if isinstance(given, type) and not issubclass(given, Policy):
        raise validation.InvalidTypeError(
            f"{argument}: {given.__name__} is not a policy, such as @recsys_po_rl.uniform_random"
        )
    if isinstance(given, type):
        return ConfiguredPolicy(gin_config.without_scope(given), gin_config.scope_of(given), name)
    if _has_required_parameter(given):
        return FunctionPolicy(given, name)
    return ConfiguredPolicy(given, "", name)  # a function that returns a policy; it activates its scope itself


def _has_required_parameter(function: Callable[..., Any]) -> bool:
    """Return whether a callable has a first parameter without default; True if it has no signature."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin
        return True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return bool(parameters) and parameters[0].kind in positional and parameters[0].default is inspect.Parameter.empty
