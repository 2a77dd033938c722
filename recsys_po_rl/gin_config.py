"""Registration with gin under one module, and parsing with actionable error messages.

Over 350 lines: parsing and its messages share the position of a statement in its file.
"""

import ast
import contextlib
import functools
import importlib
import inspect
import io
import os
import re
import tokenize
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Optional, TypeVar, overload

import gin
from gin import config_parser

from recsys_po_rl import gin_state
from recsys_po_rl.common import regular_files, validation

MODULE = "recsys_po_rl"

_Configurable = TypeVar("_Configurable", bound=Callable[..., Any])
_MODULE_OF: dict[str, str] = {}


@overload
def configurable(wrapped: _Configurable) -> _Configurable: ...


@overload
def configurable(
    *, name: Optional[str] = None, denylist: Optional[Sequence[str]] = None
) -> Callable[[_Configurable], _Configurable]: ...


def configurable(wrapped: Any = None, *, name: Optional[str] = None, denylist: Optional[Sequence[str]] = None) -> Any:
    """Register a class or function with gin as `recsys_po_rl.<name>`; a decorator, with or without arguments.

    The module prefix is mandatory: upstream registers classes of the same names, and a bare name is ambiguous if both
    packages are imported.

    Args:
      wrapped: the class or function.
      name: name in gin; None: the object's own name.
      denylist: parameters that gin cannot bind.
    """
    if wrapped is None:
        return functools.partial(configurable, name=name, denylist=denylist)
    name = name or wrapped.__name__
    _MODULE_OF[name] = MODULE
    return gin.configurable(name, module=MODULE, denylist=denylist)(wrapped)


def register_external(wrapped: Callable[..., Any], module: str) -> None:
    """Register a class or function of another package as `<module>.<its name>`."""
    _MODULE_OF[wrapped.__name__] = module
    gin.external_configurable(wrapped, module=module)


def configs_dir() -> str:
    """Return the folder of the shipped gin files: beside the package in a checkout, inside it when installed."""
    package = os.path.dirname(os.path.abspath(__file__))
    for folder in (os.path.join(package, "configs"), os.path.join(os.path.dirname(package), "configs")):
        if os.path.isfile(os.path.join(folder, "base.gin")):
            return folder
    raise validation.InvalidInputError(f"the gin files that ship with {MODULE} are missing beside {package}")


def locate(path: str, folders: Sequence[str], including: Optional[str] = None) -> str:
    """Return the path of the first existing file in some folders, then in the folder of the including file.

    Args:
      path: name of the file, with or without folders.
      folders: folders to search, in order; "" is the working directory.
      including: path of the file that includes this one.

    Raises:
      InvalidInputError: if no file exists; one line that names the folders searched.
    """
    beside = [] if including is None else [os.path.dirname(including)]
    for folder in (*folders, *beside):
        if os.path.isfile(os.path.join(folder, path)):
            return os.path.join(folder, path)
    known = [
        os.path.relpath(os.path.join(folder, file), configs_dir())
        for folder, _, files in os.walk(configs_dir())
        for file in files
    ]
    names = {"": "here", configs_dir(): "in configs/"}
    where = [names.get(folder, f"in {folder!r}") for folder in folders]
    where += [] if including is None else [f"beside {os.path.basename(including)!r}, which includes it"]
    shown = f" {' or '.join(where)}" if where else ""
    raise validation.InvalidInputError(f"no gin file {path!r}{shown}{validation.nearest(path, known)}")


def parse(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> None:
    """Read gin files in order, then bindings; later bindings win. Unlocks gin, and keeps existing bindings.

    Args:
      gin_files: paths, or paths relative to the shipped `configs/`. Included files are searched for in the working
        directory, in `configs/`, and beside the including file.
      gin_bindings: lines such as `recsys_po_rl.experiment.horizon = 50`.

    Raises:
      InvalidInputError: one line that names a missing file, an unknown name or parameter (with the nearest known
        name), or text that gin cannot parse.
    """
    located = [locate(path, ("", configs_dir())) for path in gin_files]
    try:
        with gin.unlock_config():
            for path in located:
                _parse_file(path)
            for binding in gin_bindings:
                if not binding.strip():
                    raise validation.InvalidInputError("a binding is empty, something like 'a.b = 1' is needed")
                _parse(binding)
            _raise_if_unused_macro(gin_bindings)
            gin.finalize()  # raises for macros without a value; its lock ends with this block
    except validation.InvalidInputError:
        raise
    except (RecursionError, MemoryError) as error:
        raise validation.InvalidInputError("gin: a value nests too deep") from error
    except (ValueError, TypeError, SyntaxError, ImportError, OSError, AttributeError, tokenize.TokenError) as error:
        raise validation.InvalidInputError(_one_line(error)) from error


def parse_text(text: str) -> None:
    """Read a text, possibly empty, that `config_text` returned in another process."""
    with gin.unlock_config():
        gin.parse_config(text)


class _NamedText(io.StringIO):
    """Text stream with the name of a file, which gin shows in its messages."""

    def __init__(self, text: str, name: Optional[str]) -> None:
        super().__init__(text)
        self.name = name


class _AnyName(config_parser.ParserDelegate):
    """Parser delegate that accepts every reference and macro."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> None:
        del scoped_configurable_name, evaluate

    def macro(self, macro_name: str) -> None:
        del macro_name


def _parse_file(path: str, including: Sequence[str] = ()) -> None:
    """Read a gin file and the files it includes.

    Args:
      path: path of the file.
      including: real paths of the files that include it, directly or indirectly.
    """
    if os.path.realpath(path) in including:
        raise validation.InvalidInputError(f"gin: files include one another in a circle: {path!r}")
    text = regular_files.content(path, regular_files.MAX_GIN_BYTES).decode()
    if "\0" in text:  # treated as the end of a line by the tokenizers of some Pythons
        raise validation.InvalidInputError(f"gin file {path!r} is no text: it holds a NUL")
    _parse(text, path, including)


def _parse(text: str, path: Optional[str] = None, including: Sequence[str] = ()) -> None:
    """Read gin text line by line, with included files at the position of their include statement.

    Gin ignores the folder of the including file. It receives the lines between two includes at their original line
    numbers, preceded by earlier imports, which may be needed to read them.

    Args:
      text: content of a gin file, or a binding.
      path: path of the file; None: the text is not from a file.
      including: real paths of the files that include it, directly or indirectly.
    """
    lines = io.StringIO(text).readlines()
    statements = list(config_parser.ConfigParser(_NamedText(text, path), _AnyName()))
    starts = [statement.location.line_num - 1 for statement in statements]
    imports: set[int] = set()  # numbers of the lines with imports so far
    first = 0

    def parse_up_to(end: int) -> None:
        kept = (line if first <= at < end or at in imports else "\n" for at, line in enumerate(lines))
        gin.parse_config(_NamedText("".join(kept), path))

    for statement, start, following in zip(statements, starts, [*starts[1:], len(lines)]):
        if isinstance(statement, config_parser.ImportStatement):
            import_module(statement.module)
            imports.update(range(start, following))
        if isinstance(statement, config_parser.IncludeStatement):
            parse_up_to(start)
            included = locate(statement.filename, ("", configs_dir()), path)
            _parse_file(included, [*including, *([] if path is None else [os.path.realpath(path)])])
            first = following
    parse_up_to(len(lines))


def import_module(name: str) -> None:
    """Import a module named in gin text, so that it registers its classes.

    Args:
      name: as in an import statement; gin's own options, such as `__gin__.dynamic_registration`, are left to gin.

    Raises:
      InvalidInputError: one line that names the module, if importing it raises any exception, including `SystemExit`.
    """
    if name.startswith("__gin__."):
        return
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a module may raise anything, SystemExit included
        why = validation.cut(" ".join(str(error).split()))
        raise validation.InvalidInputError(
            f"gin: the module {name!r} cannot be imported: {type(error).__name__}{': ' if why else ''}{why}"
        ) from error


def _raise_if_unused_macro(gin_bindings: Sequence[str]) -> None:
    """Raise for a binding such as `horizon = 5` that has no effect, because gin parses it as a macro."""
    for binding in gin_bindings:
        for name in re.findall(r"^\s*(\w+)\s*=", binding, flags=re.MULTILINE):
            if f"%{name}" not in config_text() and f"%{name}" not in binding:
                raise validation.InvalidInputError(
                    f"{name!r} is a macro that nothing refers to: a binding needs the full name of a parameter, "
                    f"such as {MODULE}.experiment.horizon"
                )


def _one_line(error: Exception) -> str:
    """Return gin's message and its location in a file on one line, with the nearest known name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = re.sub(r"\s+", " ", "; ".join(line for line in lines[:3] if set(line) != {"^"}))
    macro = re.search(r"No bindings specified '(\w+)/gin\.macro'", message)
    if macro:
        return f"gin: the macro {macro.group(1)!r} has no value: bind it, as in {macro.group(1)} = 1"
    unknown = re.search(r"No configurable matching (?:reference )?'@?(?:[\w/]+/)?([\w.]+)'", message)
    if unknown:
        known = [f"{module}.{name}" for name, module in _MODULE_OF.items()]
        unknown_name = unknown.group(1)
        module, _, name = unknown_name.rpartition(".")
        modules = set(_MODULE_OF.values())
        if module and module not in modules and not validation.nearest(module, modules):
            message += f" (is 'import {module}' missing, or gin.configurable above {name}?)"
        else:
            message += validation.nearest(unknown_name, known) or f" (known: {', '.join(sorted(known))})"
    parameter = re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message)
    if parameter:
        known = parameters_of(parameter.group(1))
        message += validation.nearest(parameter.group(2), known) + f" (it has: {', '.join(known)})"
    return f"gin: {message}"


def parameters_of(selector: str) -> list[str]:
    """Return the names of the bindable parameters of the configurable called `selector`."""
    wrapped = gin.get_configurable(selector)
    return [name for name in inspect.signature(wrapped).parameters if name not in ("self", "args", "kwargs")]


def default_of(selector: str, parameter: str) -> Any:
    """Return a parameter's default for the configurable `selector`, `inspect.Parameter.empty` without one."""
    return inspect.signature(gin.get_configurable(selector)).parameters[parameter].default


def config_text() -> str:
    """Return all bindings as gin text that can be parsed again, with imports of the modules it needs."""
    gin_state.make_plain()
    text = _qualified(gin.config_str())
    if "dynamic_registration" in text:  # gin itself then writes imports, under its own names
        return _scope_comment() + text
    imported = re.findall(r"^import (\S+)$", text, flags=re.MULTILINE)
    imports = "".join(f"import {module}\n" for module in gin_state.needed().modules if module not in imported)
    return _scope_comment() + imports + text


def bound_scalars() -> dict[str, bool | int | float | str]:
    """Return the bound numbers and short texts by name, without the project's prefix."""
    scalars = {}
    for name, text in re.findall(r"^([\w./]+\.\w+) = (.+)$", config_text(), flags=re.MULTILINE):
        with contextlib.suppress(ValueError, SyntaxError):  # a reference, a macro, the first of several lines
            value = ast.literal_eval(text)
            if isinstance(value, (bool, int, float, str)):
                scalars[name.removeprefix(f"{MODULE}.")] = value
    return scalars


def operative_config_text() -> str:
    """Return the parameters used by calls so far, with defaults, as gin text that can be parsed again."""
    gin_state.make_plain()
    return _scope_comment() + _qualified(gin.operative_config_str())


def _scope_comment() -> str:
    scope = "/".join(gin_state.scope())
    return f"# The scope {scope!r} was active: read this under gin.config_scope({scope!r}).\n" if scope else ""


def _qualified(text: str) -> str:
    """Restore prefixes in gin text: gin shortens `recsys_po_rl.X.p` to `X.p`, ambiguous with upstream's names."""

    def qualify(match: re.Match[str]) -> str:
        scope, name, rest = match.groups()
        return f"{scope}{_MODULE_OF[name]}.{name}{rest}" if name in _MODULE_OF else match.group(0)

    return re.sub(r"^((?:[\w/]+/)?)(\w+)(\.\w+ =)", qualify, text, flags=re.MULTILINE)


def wrong_calls_in_one_line(wrapped: _Configurable) -> _Configurable:
    """Decorate a function so that calls of gin-bound objects with wrong arguments raise `validation.InvalidInputError`.

    An example is `user_ctor = @recsys_po_rl.uniform_random`. Other errors, also of wrong calls inside user code, pass.
    """

    @functools.wraps(wrapped)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except TypeError as error:
            text = str(error)
            called = re.search(r"In call to configurable '([\w.]+)'", text)
            wrong = re.search(r"missing \d+ required|unexpected keyword argument|takes .* argument|too many", text)
            if isinstance(error, validation.InvalidInputError) or not called or not wrong or not _raised_by_gin(error):
                raise
            raise validation.InvalidInputError(
                f"gin: {called.group(1)} stands in the wrong place: {first_line(error)}"
            ) from error

    return call  # type: ignore[return-value]


def _raised_by_gin(error: BaseException) -> bool:
    """Return whether the innermost frame, which made the wrong call, belongs to gin or this package."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    folders = (os.path.dirname(file) for file in (str(gin.__file__), __file__))
    return raised_in.startswith(tuple(os.path.join(folder, "") for folder in folders))


def first_line(error: BaseException) -> str:
    """Return the message of an error without the lines that gin appends about the place of the call."""
    return str(error).splitlines()[0]


def scope_of(configurable_: Any) -> str:
    """Return the gin scope that a reference such as `@few/recsys_po_rl.popular_by_clicks` activates in a call.

    Args:
      configurable_: the function or class that gin created from a reference, or any other callable.

    Returns:
      The scope, its parts joined with "/"; empty if the callable has no scope.
    """
    # gin keeps the scope only in the closure of the function that it creates: for a class, its metaclass's call.
    function = type(configurable_).__call__ if isinstance(configurable_, type) else configurable_
    if not inspect.isfunction(function):
        return ""
    return "/".join(inspect.getclosurevars(function).nonlocals.get("scope_components", ()))


def without_scope(class_: type) -> type:
    """Return the class that a reference such as `@few/recsys_po_rl.popular_by_clicks` calls in its scope.

    Args:
      class_: a class, possibly the one that gin derived to activate a scope.
    """
    return class_.__bases__[0] if scope_of(class_) else class_


def bindings_of(configurable_: Any) -> dict[str, Any]:
    """Return the values that gin would pass to a callable in the scope of its reference.

    Args:
      configurable_: a configurable, or a wrapper of one (see `functools.wraps`).

    Returns:
      Values by parameter; empty if the callable is not registered with gin.
    """
    scopes, layer = [gin.current_scope_str()], configurable_
    while layer is not None:
        scopes.append(scope_of(layer))
        with contextlib.suppress(ValueError), gin.config_scope("/".join(filter(None, scopes)) or None):
            return gin.get_bindings(layer)  # ValueError: this layer is not registered with gin
        layer = getattr(layer, "__wrapped__", None)
    return {}
