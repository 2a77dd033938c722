"""Registration with gin under one module, and parsing with errors a person can act on."""

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
from typing import Any, Optional, TypeVar

import gin
from gin import config_parser

from recsys_po_rl import gin_state
from recsys_po_rl.common import regular_files, validation

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
    raise validation.InvalidInputError(f"the gin files that ship with {MODULE} are missing beside {package}")


def locate(path: str, folders: Sequence[str], including: Optional[str] = None) -> str:
    """The first file of a name in some folders, then in that of the file that includes it.

    Args:
      path: the name, with folders or without.
      folders: where to look, in order; "" is the working directory.
      including: path of the file that includes it.

    Raises:
      InvalidInputError: if there is none; one line that says where it was looked for.
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
    """Reads gin files in order, then bindings; later ones win. Unlocks and keeps whatever was bound before.

    Args:
      gin_files: paths, or paths relative to the shipped `configs/`. What they include is looked for in the working
        directory, in `configs/`, and beside the file that includes it.
      gin_bindings: lines such as `recsys_po_rl.experiment.horizon = 50`.

    Raises:
      InvalidInputError: one line that names a missing file, an unknown name or parameter (and the nearest known
        one), or text that gin cannot read.
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
            gin.finalize()  # refuses macros without a value; the lock that it sets ends with this block
    except validation.InvalidInputError:
        raise
    except (RecursionError, MemoryError) as error:
        raise validation.InvalidInputError("gin: a value nests too deep") from error
    except (ValueError, TypeError, SyntaxError, ImportError, OSError, AttributeError, tokenize.TokenError) as error:
        raise validation.InvalidInputError(_one_line(error)) from error


def parse_text(text: str) -> None:
    """Reads what `config_text` gave in another process, also nothing at all."""
    with gin.unlock_config():
        gin.parse_config(text)


class _NamedText(io.StringIO):
    """Text of a file, whose name gin then has in its messages."""

    def __init__(self, text: str, name: Optional[str]) -> None:
        super().__init__(text)
        self.name = name


class _AnyName(config_parser.ParserDelegate):
    """Accepts every reference and macro."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> None:
        del scoped_configurable_name, evaluate

    def macro(self, macro_name: str) -> None:
        del macro_name


def _parse_file(path: str, including: Sequence[str] = ()) -> None:
    """Reads a gin file and what it includes.

    Args:
      path: the file.
      including: real paths of the files that include it, directly or not.
    """
    if os.path.realpath(path) in including:
        raise validation.InvalidInputError(f"gin: files include one another in a circle: {path!r}")
    text = regular_files.content(path, regular_files.MAX_GIN_BYTES).decode()
    if "\0" in text:  # some Pythons' tokenizers take it for the end of a line
        raise validation.InvalidInputError(f"gin file {path!r} is no text: it holds a NUL")
    _parse(text, path, including)


def _parse(text: str, path: Optional[str] = None, including: Sequence[str] = ()) -> None:
    """Reads gin text in the order of its lines, included files where they stand.

    Gin itself knows no folder of the including file. It is given the lines between two includes at a time, at their
    places in the file, and the imports before them, which can be needed to read them.

    Args:
      text: of a gin file, or a binding.
      path: of the file; None: there is none.
      including: real paths of the files that include it, directly or not.
    """
    lines = io.StringIO(text).readlines()
    statements = list(config_parser.ConfigParser(_NamedText(text, path), _AnyName()))
    starts = [statement.location.line_num - 1 for statement in statements]
    imports: set[int] = set()  # numbers of the lines that hold imports, so far
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
    """Import a module that gin text names, so that it registers its classes.

    Args:
      name: as in an import statement; gin's own switches, such as `__gin__.dynamic_registration`, are left to gin.

    Raises:
      InvalidInputError: one line that names the module, if importing it raises anything, `SystemExit` included.
    """
    if name.startswith("__gin__."):
        return
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of whatever kind the module raises, SystemExit among them
        why = validation.cut(" ".join(str(error).split()))
        raise validation.InvalidInputError(
            f"gin: the module {name!r} cannot be imported: {type(error).__name__}{': ' if why else ''}{why}"
        ) from error


def _raise_if_unused_macro(gin_bindings: Sequence[str]) -> None:
    """Refuses a binding such as `horizon = 5`, which gin takes for a macro, if that changes nothing."""
    for binding in gin_bindings:
        for name in re.findall(r"^\s*(\w+)\s*=", binding, flags=re.MULTILINE):
            if f"%{name}" not in config_text() and f"%{name}" not in binding:
                raise validation.InvalidInputError(
                    f"{name!r} is a macro that nothing refers to: a binding needs the full name of a parameter, "
                    f"such as {MODULE}.experiment.horizon"
                )


def _one_line(error: Exception) -> str:
    """Gin's message with its place in a file, on one line, with the nearest known name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    message = re.sub(r"\s+", " ", "; ".join(line for line in lines[:3] if set(line) != {"^"}))
    macro = re.search(r"No bindings specified '(\w+)/gin\.macro'", message)
    if macro:
        return f"gin: the macro {macro.group(1)!r} has no value: bind it, as in {macro.group(1)} = 1"
    unknown = re.search(r"No configurable matching (?:reference )?'@?(?:[\w/]+/)?([\w.]+)'", message)
    if unknown:
        known = [f"{module}.{name}" for name, module in _MODULE_OF.items()]
        wanted = unknown.group(1)
        message += validation.nearest(wanted, known) or f" (known: {', '.join(sorted(known))})"
    parameter = re.search(r"Configurable '([\w.]+)' doesn't have a parameter named '(\w+)'", message)
    if parameter:
        known = parameters_of(parameter.group(1))
        message += validation.nearest(parameter.group(2), known) + f" (it has: {', '.join(known)})"
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
    """Lets a function that calls what gin binds raise `validation.InvalidInputError` where that has other arguments.

    Such as `user_ctor = @recsys_po_rl.uniform_random`. Other errors pass, those of wrong calls inside users' code too.
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
    """Return whether the innermost frame, which made the wrong call, is gin's or this package's."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    folders = (os.path.dirname(file) for file in (str(gin.__file__), __file__))
    return raised_in.startswith(tuple(os.path.join(folder, "") for folder in folders))


def first_line(error: BaseException) -> str:
    """The message of an error without the lines that gin adds about where it was called."""
    return str(error).splitlines()[0]


def scope_of(configurable_: Any) -> str:
    """Return the gin scope that a reference such as `@few/recsys_po_rl.popular_by_clicks` activates when it is called.

    Args:
      configurable_: the function that gin made of a reference, or any other callable.

    Returns:
      The scope, its parts joined with "/"; empty if there is none.
    """
    if not inspect.isfunction(configurable_):
        return ""
    # gin keeps the scope in the closure of the function that it makes, and nowhere else.
    return "/".join(inspect.getclosurevars(configurable_).nonlocals.get("scope_components", ()))


def bindings_of(configurable_: Any) -> dict[str, Any]:
    """Return the values that gin would hand to a callable, in the scope that its reference names.

    Args:
      configurable_: a configurable, or a function around one (see `functools.wraps`).

    Returns:
      By parameter; empty if gin does not know the callable.
    """
    scopes, layer = [gin.current_scope_str()], configurable_
    while layer is not None:
        scopes.append(scope_of(layer))
        with contextlib.suppress(ValueError), gin.config_scope("/".join(filter(None, scopes)) or None):
            return gin.get_bindings(layer)  # a ValueError: gin does not know this layer
        layer = getattr(layer, "__wrapped__", None)
    return {}
