"""Gin bindings in a form that can be written as text, and the registrations that another process needs.

The only module that reads gin's internals (`gin.config._CONFIG` and its neighbours): gin's text omits bindings whose
values have no literal form, and its public functions list neither bindings nor registrations.
"""

import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

import gin
import numpy as np
from gin import config as gin_internals

from recsys_po_rl.common import validation

PROJECT = "recsys_po_rl"
# Modules under which the project itself registers classes of other packages, in every process.
_REGISTERED_BY_PROJECT = ("gin", "tf.keras.optimizers")


class _Infinity(float):
    """Infinite number whose `repr` is a literal, so that gin writes it and reads it back."""

    def __repr__(self) -> str:
        return "1e999" if self > 0 else "-1e999"


class Registration(NamedTuple):
    """Class or function of an importable module that code outside the project registered with gin."""

    name: str
    module: Optional[str]
    wrapped: Callable[..., Any]
    allowlist: Optional[Sequence[str]]
    denylist: Optional[Sequence[str]]


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Provide an empty gin configuration within the block; the bindings of before return after it."""
    stores = (gin_internals._CONFIG, gin_internals._OPERATIVE_CONFIG)
    saved = [{key: dict(parameters) for key, parameters in store.items()} for store in stores]
    imports = list(gin_internals._IMPORTS)
    locked = gin.config_is_locked()
    with gin.unlock_config():
        gin.clear_config()
    try:
        yield
    finally:
        with gin.unlock_config():
            gin.clear_config()
        for store, before in zip(stores, saved):
            store.update(before)
        gin_internals._IMPORTS.update(imports)
        gin_internals._set_config_is_locked(locked)


class Needed(NamedTuple):
    """Registrations that the bindings need, besides the project's own."""

    modules: list[str]  # importing a module registers its classes and functions
    registrations: list[Registration]
    not_importable: list[str]  # selectors: defined in a script, a notebook or a function


def plain(value: Any) -> Any:
    """Return a value in the form used by gin text: NumPy values as Python numbers and lists, also nested.

    Args:
      value: any object; values without such a form are returned unchanged.

    Returns:
      Python numbers and lists for NumPy values, the value of a `gin.constant` with a literal form, and a reference for
      a class or function registered with gin.
    """
    if isinstance(value, gin_internals.ConfigurableReference):
        return _constant(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if type(value) is float and math.isinf(value):
        return _Infinity(value)
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) is dict:
        return {plain(key): plain(item) for key, item in value.items()}
    return value


def make_plain() -> None:
    """Replace bound values by their plain form, so that gin's text has them and all processes have equal values."""
    for bindings in (gin_internals._CONFIG, gin_internals._OPERATIVE_CONFIG):
        for parameters in bindings.values():
            for name, value in parameters.items():
                parameters[name] = _registered(plain(value))


def unbind(selectors: Sequence[str]) -> None:
    """Remove all bindings of some configurables, in every scope.

    Args:
      selectors: full names, such as `recsys_po_rl.sweep`.
    """
    for key in [key for key in gin_internals._CONFIG if key[1] in selectors]:
        del gin_internals._CONFIG[key]


def raise_if_not_writable() -> None:
    """Validate that the text of all bindings is complete.

    Raises:
      InvalidInputError: one line that names a binding whose value has no literal form.
    """
    make_plain()
    for (scope, selector), parameters in gin_internals._CONFIG.items():
        for name, value in parameters.items():
            if _writable(value):
                continue
            called = (
                f"macro {scope!r}" if selector == "gin.macro" else f"{scope + '/' if scope else ''}{selector}.{name}"
            )
            raise validation.InvalidInputError(
                f"gin: {called} is bound to {_shown(value)}, which {PROJECT} cannot write to config.gin: bind finite "
                "numbers, text, None, lists or dicts of them, or register the class or function with gin and bind "
                "@its_name"
            )


def needed() -> Needed:
    """List the registrations that the bindings need, besides the project's own.

    Returns:
      Modules and selectors, sorted.
    """
    modules, registrations, not_importable = set(), {}, set()
    for configurable in _used():
        module, attribute = configurable.wrapped.__module__, _attribute(configurable)
        if attribute is None or not _importable(module):
            not_importable.add(configurable.selector)
        elif attribute is configurable.wrapper:
            modules.add(module)
        else:
            registrations[configurable.selector] = Registration(
                configurable.name,
                configurable.module,
                configurable.wrapped,
                configurable.allowlist,
                configurable.denylist,
            )
    return Needed(sorted(modules), [registrations[name] for name in sorted(registrations)], sorted(not_importable))


def register(registrations: Sequence[Registration]) -> None:
    """Register with gin the objects that another process had registered and this process lacks.

    Args:
      registrations: registrations of the other process, see `needed`.
    """
    for given in registrations:
        selector = f"{given.module}.{given.name}" if given.module else given.name
        if selector not in gin_internals._REGISTRY:
            gin.external_configurable(
                given.wrapped, given.name, module=given.module, allowlist=given.allowlist, denylist=given.denylist
            )


def name_of(value: Any) -> Optional[str]:
    """Return the name under which a class or function is registered with gin, without its module.

    Args:
      value: a class or function; a class derived from a registered class is another class.

    Returns:
      The name; None if the object is not registered.
    """
    configurable = gin_internals._inverse_lookup(value)
    return None if configurable is None else str(configurable.name)


def scope() -> list[str]:
    """Return the names of the active `gin.config_scope`, outermost first."""
    return list(gin_internals.current_scope())


def _constant(reference: Any) -> Any:
    """Return the value of a reference to a `gin.constant`, if the value has a literal form."""
    if reference.configurable.wrapped is not gin_internals._retrieve_constant:
        return reference
    value = gin_internals._CONSTANTS[reference.scoped_selector.rpartition("/")[0]]
    literal = _registered(plain(value))
    return literal if _writable(literal) else reference


def _registered(value: Any) -> Any:
    """Return a reference if the value is itself a registered class or function."""
    if isinstance(value, gin_internals.ConfigurableReference) or not callable(value):
        return value
    try:
        configurable = gin_internals._inverse_lookup(value, allow_decorators=True)
    except TypeError:  # not hashable
        return value
    return value if configurable is None else gin_internals.ConfigurableReference(configurable.selector, False)


def _writable(value: Any) -> bool:
    if isinstance(value, gin_internals.ConfigurableReference):
        return value.configurable.wrapped is not gin_internals._retrieve_constant or _constant_comes_along(value)
    if isinstance(value, _Infinity):
        return True
    if type(value) in (list, tuple):
        return all(map(_writable, value))
    if type(value) is dict:
        return all(_writable(key) and _writable(item) for key, item in value.items())
    if value is not None and type(value) not in (bool, int, float, complex, str, bytes):
        return False
    try:
        return gin_internals._is_literally_representable(value)
    except ValueError:  # an integer of thousands of digits
        return False


def _constant_comes_along(reference: Any) -> bool:
    """Return whether reading the text defines the constant again, such as an enum of a module imported by the text."""
    name = reference.scoped_selector.rpartition("/")[0]
    imported = {statement.module for statement in gin_internals._IMPORTS}
    return name == "gin.REQUIRED" or type(gin_internals._CONSTANTS[name]).__module__ in imported


def _used() -> Iterator[Any]:
    bindings: Mapping[Any, Any] = gin_internals._CONFIG
    selectors = {selector for _, selector in bindings}
    selectors.update(reference.configurable.selector for reference in gin_internals.iterate_references(bindings))
    for selector in sorted(selectors):
        configurable = gin_internals._REGISTRY[selector]
        defined_in = str(configurable.wrapped.__module__)
        if defined_in.split(".")[0] == PROJECT or str(configurable.module).startswith(_REGISTERED_BY_PROJECT):
            continue
        yield configurable


def _attribute(configurable: Any) -> Any:
    return getattr(sys.modules.get(configurable.wrapped.__module__), configurable.wrapped.__name__, None)


def _importable(module: str) -> bool:
    if module == "__main__":
        return False
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module created in memory, which cannot be imported
        return False


def _shown(value: Any) -> str:
    if type(value) is float:
        return str(value)
    name = getattr(value, "__qualname__", None)
    return f"{name}" if name else f"a value of type {type(value).__module__}.{type(value).__qualname__}"
