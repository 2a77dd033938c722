"""Registration with gin under one module, and parsing with errors a person can act on."""

import ast
import contextlib
import functools
import inspect
import logging
import os
import re
import tokenize
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import gin

from recsys_po_rl import checks, gin_state

MODULE = "recsys_po_rl"

_Configurable = TypeVar("_Configurable", bound=Callable[..., Any])
_MODULE_OF: dict[str, str] = {}


def configurable(wrapped: _Configurable) -> _Configurable:
    """Registers a class or function with gin as `recsys_po_rl.<its name>`.

    Always with the module: upstream registers classes of the same names, and a bare name becomes ambiguous as soon
    as both are imported.
    """
    _MODULE_OF[wrapped.__name__] = MODULE
    return gin.configurable(wrapped.__name__, module=MODULE)(wrapped)


def register_external(wrapped: Callable[..., Any], module: str) -> None:
    """Registers somebody else's class or function as `<module>.<its name>`."""
    _MODULE_OF[wrapped.__name__] = module
    gin.external_configurable(wrapped, module=module)


def configs_dir() -> str:
    """The folder of the shipped gin files: beside the package in a checkout, inside it when installed."""
    package = os.path.dirname(os.path.abspath(__file__))
    for folder in (os.path.join(package, "configs"), os.path.join(os.path.dirname(package), "configs")):
        if os.path.isfile(os.path.join(folder, "base.gin")):
            return folder
    raise checks.InvalidInputError(f"the gin files that ship with {MODULE} are missing beside {package}")


@functools.cache
def add_search_path() -> None:
    """Puts the folder of the shipped gin files on gin's search path, once."""
    gin.add_config_file_search_path(configs_dir())


def parse(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> None:
    """Reads gin files in order, then bindings; later ones win. Unlocks and keeps whatever was bound before.

    Args:
      gin_files: paths, or paths relative to the shipped `configs/`.
      gin_bindings: lines such as `recsys_po_rl.experiment.horizon = 50`.

    Raises:
      checks.InvalidInputError: one line that names a missing file, an unknown name or parameter (and the nearest known
        one), or text that gin cannot read.
    """
    add_search_path()
    for path in gin_files:
        if not any(os.path.isfile(os.path.join(base, path)) for base in ("", configs_dir())):
            known = [
                os.path.relpath(os.path.join(folder, file), configs_dir())
                for folder, _, files in os.walk(configs_dir())
                for file in files
            ]
            raise checks.InvalidInputError(f"no gin file {path!r} here or in configs/{checks.nearest(path, known)}")
    try:
        with gin.unlock_config(), _search_without_complaint():
            for path in gin_files:
                _raise_if_no_text(path)
                gin.parse_config_file(path)
            for binding in gin_bindings:
                if not binding.strip():
                    raise checks.InvalidInputError("a binding is empty, something like 'a.b = 1' is needed")
                gin.parse_config(binding)
            _raise_if_unused_macro(gin_bindings)
            gin.finalize()  # refuses macros without a value; the lock that it sets ends with this block
    except checks.InvalidInputError:
        raise
    except (RecursionError, MemoryError) as error:
        raise checks.InvalidInputError(
            "gin: files include one another in a circle, or a value nests too deep"
        ) from error
    except (ValueError, TypeError, SyntaxError, ImportError, OSError, AttributeError, tokenize.TokenError) as error:
        raise checks.InvalidInputError(_one_line(error)) from error


def parse_text(text: str) -> None:
    """Reads what `config_text` gave in another process, also nothing at all."""
    add_search_path()
    with gin.unlock_config():
        gin.parse_config(text)


def _raise_if_unused_macro(gin_bindings: Sequence[str]) -> None:
    """Refuses a binding such as `horizon = 5`, which gin takes for a macro, if that changes nothing."""
    for binding in gin_bindings:
        for name in re.findall(r"^\s*(\w+)\s*=", binding, flags=re.MULTILINE):
            if f"%{name}" not in config_text() and f"%{name}" not in binding:
                raise checks.InvalidInputError(
                    f"{name!r} is a macro that nothing refers to: a binding needs the full name of a parameter, "
                    f"such as {MODULE}.experiment.horizon"
                )


def _raise_if_no_text(path: str) -> None:
    """Refuses a NUL, which some Pythons' tokenizers take for the end of a line."""
    for base in ("", configs_dir()):
        if os.path.isfile(os.path.join(base, path)):
            with open(os.path.join(base, path), "rb") as file:
                if b"\0" in file.read():
                    raise checks.InvalidInputError(f"gin file {path!r} is no text: it holds a NUL")
            return


@contextlib.contextmanager
def _search_without_complaint() -> Iterator[None]:
    """Gin logs an error for every place where a file is not, also when the next place has it."""
    root, mute = logging.getLogger(), logging.NullHandler()

    def is_no_search(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Path not found")

    root.addHandler(mute)  # a root logger without handlers would be given one that prints
    root.addFilter(is_no_search)
    try:
        yield
    finally:
        root.removeFilter(is_no_search)
        root.removeHandler(mute)


def _one_line(error: Exception) -> str:
    """Gin's message with its place in a file, on one line, with the nearest known name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = re.sub(r"\s+", " ", "; ".join(line for line in lines[:3] if set(line) != {"^"}))
    # Where gin looks is a list of this machine's folders; an include is looked up where a gin file is.
    message = re.sub(r"Searched config paths: \[.*?\]\.?", "Searched here and in configs/", message)
    macro = re.search(r"No bindings specified '(\w+)/gin\.macro'", message)
    if macro:
        return f"gin: the macro {macro.group(1)!r} has no value: bind it, as in {macro.group(1)} = 1"
    unknown = re.search(r"No configurable matching (?:reference )?'@?(?:[\w/]+/)?([\w.]+)'", message)
    if unknown:
        known = [f"{module}.{name}" for name, module in _MODULE_OF.items()]
        wanted = unknown.group(1)
        message += checks.nearest(wanted, known) or f" (known: {', '.join(sorted(known))})"
    parameter = re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message)
    if parameter:
        known = parameters_of(parameter.group(1))
        message += checks.nearest(parameter.group(2), known) + f" (it has: {', '.join(known)})"
    return f"gin: {message}"


def parameters_of(selector: str) -> list[str]:
    """Names of the parameters that gin can bind on the configurable called `selector`."""
    wrapped = gin.get_configurable(selector)
    return [name for name in inspect.signature(wrapped).parameters if name not in ("self", "args", "kwargs")]


def default_of(selector: str, parameter: str) -> Any:
    """The default of a parameter of the configurable called `selector`; `inspect.Parameter.empty` if it has none."""
    return inspect.signature(gin.get_configurable(selector)).parameters[parameter].default


def config_text() -> str:
    """Everything bound, as gin text that can be read again, with imports of the modules that register what is bound."""
    gin_state.make_plain()
    text = _qualified(gin.config_str())
    if "dynamic_registration" in text:  # then gin imports what is bound, under names of its own
        return _scope_comment() + text
    imported = re.findall(r"^import (\S+)$", text, flags=re.MULTILINE)
    imports = "".join(f"import {module}\n" for module in gin_state.needed().modules if module not in imported)
    return _scope_comment() + imports + text


def bound_scalars() -> dict[str, bool | int | float | str]:
    """The numbers and short texts that are bound, by name, without the project's prefix."""
    found = {}
    for name, text in re.findall(r"^([\w./]+\.\w+) = (.+)$", config_text(), flags=re.MULTILINE):
        with contextlib.suppress(ValueError, SyntaxError):  # a reference, a macro, the first of several lines
            value = ast.literal_eval(text)
            if isinstance(value, (bool, int, float, str)):
                found[name.removeprefix(f"{MODULE}.")] = value
    return found


def operative_config_text() -> str:
    """The parameters that calls so far have used, defaults included, as gin text that can be read again."""
    gin_state.make_plain()
    return _scope_comment() + _qualified(gin.operative_config_str())


def _scope_comment() -> str:
    scope = "/".join(gin_state.scope())
    return f"# The scope {scope!r} was active: read this under gin.config_scope({scope!r}).\n" if scope else ""


def _qualified(text: str) -> str:
    """Gin shortens `recsys_po_rl.X.p = v` to `X.p = v`; the long form stays unambiguous beside upstream's names."""

    def qualify(match: re.Match[str]) -> str:
        scope, name, rest = match.groups()
        return f"{scope}{_MODULE_OF[name]}.{name}{rest}" if name in _MODULE_OF else match.group(0)

    return re.sub(r"^((?:[\w/]+/)?)(\w+)(\.\w+ =)", qualify, text, flags=re.MULTILINE)


def wrong_calls_in_one_line(wrapped: _Configurable) -> _Configurable:
    """Lets a function that calls what gin binds raise `checks.InvalidInputError` where that has other arguments.

    Such as `user_ctor = @recsys_po_rl.uniform_random`. Other errors pass: their traceback helps whoever wrote the code.
    """

    @functools.wraps(wrapped)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except TypeError as error:
            text = str(error)
            called = re.search(r"In call to configurable '([\w.]+)'", text)
            wrong = re.search(r"missing \d+ required|unexpected keyword argument|takes .* argument|too many", text)
            if isinstance(error, checks.InvalidInputError) or not called or not wrong:
                raise
            raise checks.InvalidInputError(
                f"gin: {called.group(1)} stands in the wrong place: {first_line(error)}"
            ) from error

    return call  # type: ignore[return-value]


def first_line(error: Exception) -> str:
    """The message of an error without the lines that gin adds about where it was called."""
    return str(error).splitlines()[0]
