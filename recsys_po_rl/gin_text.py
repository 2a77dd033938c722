"""Static reader of gin text: bindings and imports, without registering, importing or evaluating anything."""

import tokenize
from collections.abc import Sequence
from typing import Any, Optional

from gin import config_parser

from recsys_po_rl import gin_config
from recsys_po_rl.common import regular_files, validation

MACRO = "macro"  # used as the parameter name of a macro's binding


class _Named:
    """Reference or macro, whose repr is its original text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


class _AsWritten(config_parser.ParserDelegate):
    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> _Named:
        return _Named(f"@{scoped_configurable_name}{'()' if evaluate else ''}")

    def macro(self, macro_name: str) -> _Named:
        return _Named(f"%{macro_name}")


def bindings(text: str, search_path: Sequence[str] = (), path: Optional[str] = None) -> dict[str, str]:
    """Return the bindings in gin text.

    Args:
      text: content of a gin file.
      search_path: folders of included files; later bindings win over included ones, as in gin.
      path: path of the file, whose folder is searched last for included files; None: the text is not from a file.

    Returns:
      Values by name (`scope/module.configurable.parameter`), as Python and gin write them on one line.

    Raises:
      InvalidInputError: one line, if the text is not valid gin text, or an included file is missing.
    """
    values: dict[str, str] = {}
    try:
        parser = config_parser.ConfigParser(text, _AsWritten())
        while (statement := parser.parse_statement()) is not None:
            if isinstance(statement, config_parser.IncludeStatement):
                values.update(file_bindings(statement.filename, search_path, path))
            elif isinstance(statement, config_parser.BindingStatement):
                values[_name(statement)] = repr(statement.value)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError, OSError) as error:
        if isinstance(error, validation.InvalidInputError):
            raise
        raise validation.InvalidInputError(f"not gin text: {validation.cut(' '.join(str(error).split()))}") from error
    return values


def imports(text: str, search_path: Sequence[str] = (), path: Optional[str] = None) -> list[str]:
    """Return the modules that gin text imports, without importing them.

    Args:
      text: gin text.
      search_path: folders of included files; if empty, an include is an error.
      path: path of the file; None: the text is not from a file.

    Returns:
      Module names in order, also those of included files; `from a import b` counts as `a.b`.

    Raises:
      InvalidInputError: one line, if the text is not valid gin text, or an included file is missing.
    """
    modules: list[str] = []
    try:
        parser = config_parser.ConfigParser(text, _AsWritten())
        while (statement := parser.parse_statement()) is not None:
            if isinstance(statement, config_parser.IncludeStatement):
                modules.extend(file_imports(statement.filename, search_path, path))
            elif isinstance(statement, config_parser.ImportStatement):
                modules.append(statement.module)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError, OSError) as error:
        if isinstance(error, validation.InvalidInputError):
            raise
        raise validation.InvalidInputError(f"not gin text: {validation.cut(' '.join(str(error).split()))}") from error
    return modules


def file_imports(path: str, search_path: Sequence[str], including: Optional[str] = None) -> list[str]:
    """Return the modules imported by a gin file, found by `gin_config.locate`; see `imports`."""
    located = gin_config.locate(path, search_path, including)
    return imports(regular_files.text(located), search_path, located)


def file_bindings(path: str, search_path: Sequence[str], including: Optional[str] = None) -> dict[str, str]:
    """Return the bindings in a gin file, found by `gin_config.locate`; see `bindings`."""
    located = gin_config.locate(path, search_path, including)
    return bindings(regular_files.text(located), search_path, located)


def shipped_bindings(path: str) -> dict[str, str]:
    """Return the bindings in a gin file of `configs/`, regardless of the working directory; see `bindings`."""
    return file_bindings(path, [gin_config.configs_dir()])


def _name(statement: Any) -> str:
    scope = f"{statement.scope}/" if statement.scope else ""
    return f"{scope}{statement.selector}.{statement.arg_name or MACRO}"
