"""Reads gin text as text: which parameter is bound to what, without registering, importing or evaluating anything."""

import tokenize
from collections.abc import Sequence
from typing import Any, Optional

from gin import config_parser

from recsys_po_rl import gin_config
from recsys_po_rl.common import regular_files, validation

MACRO = "macro"  # in place of a parameter's name, where a macro is bound


class _Named:
    """A reference or macro, shown as it was written."""

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
    """What gin text binds.

    Args:
      text: of a gin file.
      search_path: folders where included files are; later bindings win over included ones, as in gin.
      path: of the file, in whose folder included ones are looked for at last; None: there is none.

    Returns:
      By name (`scope/module.configurable.parameter`) the value, as Python and gin write it on one line.

    Raises:
      InvalidInputError: one line, if it is no gin text, or an included file is not there.
    """
    found: dict[str, str] = {}
    try:
        parser = config_parser.ConfigParser(text, _AsWritten())
        while (statement := parser.parse_statement()) is not None:
            if isinstance(statement, config_parser.IncludeStatement):
                found.update(file_bindings(statement.filename, search_path, path))
            elif isinstance(statement, config_parser.BindingStatement):
                found[_name(statement)] = repr(statement.value)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError, OSError) as error:
        if isinstance(error, validation.InvalidInputError):
            raise
        raise validation.InvalidInputError(f"not gin text: {validation.cut(' '.join(str(error).split()))}") from error
    return found


def imports(text: str, search_path: Sequence[str] = (), path: Optional[str] = None) -> list[str]:
    """Return the modules that gin text imports, without importing them.

    Args:
      text: gin text.
      search_path: folders of included files; with none, an include is an error.
      path: of the file that the text is from; None: there is none.

    Returns:
      Module names in their order, of included files too; `from a import b` counts as `a.b`.

    Raises:
      InvalidInputError: one line, if the text is no gin text, or an included file is missing.
    """
    found: list[str] = []
    try:
        parser = config_parser.ConfigParser(text, _AsWritten())
        while (statement := parser.parse_statement()) is not None:
            if isinstance(statement, config_parser.IncludeStatement):
                found.extend(file_imports(statement.filename, search_path, path))
            elif isinstance(statement, config_parser.ImportStatement):
                found.append(statement.module)
    except (SyntaxError, ValueError, tokenize.TokenError, RecursionError, MemoryError, OSError) as error:
        if isinstance(error, validation.InvalidInputError):
            raise
        raise validation.InvalidInputError(f"not gin text: {validation.cut(' '.join(str(error).split()))}") from error
    return found


def file_imports(path: str, search_path: Sequence[str], including: Optional[str] = None) -> list[str]:
    """Return the modules that a gin file imports, see `imports`; it is looked for as `gin_config.locate` does."""
    located = gin_config.locate(path, search_path, including)
    return imports(regular_files.text(located), search_path, located)


def file_bindings(path: str, search_path: Sequence[str], including: Optional[str] = None) -> dict[str, str]:
    """What a gin file binds, see `bindings`; it is looked for as `gin_config.locate` does."""
    located = gin_config.locate(path, search_path, including)
    return bindings(regular_files.text(located), search_path, located)


def shipped_bindings(path: str) -> dict[str, str]:
    """What a gin file of `configs/` binds, see `bindings`, whatever the working directory holds."""
    return file_bindings(path, [gin_config.configs_dir()])


def _name(statement: Any) -> str:
    scope = f"{statement.scope}/" if statement.scope else ""
    return f"{scope}{statement.selector}.{statement.arg_name or MACRO}"
