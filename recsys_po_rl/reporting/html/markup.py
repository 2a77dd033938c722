"""Construction of HTML: text is escaped unless it is marked as HTML."""

import html
import re
from collections.abc import Callable
from typing import Any

from recsys_po_rl.reporting.html.style import STYLE

VOID = frozenset({"meta", "br", "wbr", "hr"})  # elements without content
# Resources that a page may load: none. Even an unescaped text would then not be executed by a browser.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


def escaped(content: Any) -> Html:
    """Return HTML for `content`: HTML unchanged, a list's items in turn, nothing for None, anything else escaped."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, (list, tuple)):
        return Html("".join(escaped(part) for part in content))
    text = str(content).encode("utf-8", "replace").decode()  # JSON may contain lone surrogates, which cannot be encoded
    return Html(html.escape(_CONTROL.sub("\ufffd", text), quote=True))


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """Return an element.

    Args:
      tag: name of the element.
      *children: content of the element, see `escaped`.
      **attributes: attributes by name, without a final underscore and with hyphens for other underscores; None omits
        an attribute. Values are escaped.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escaped(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{escaped(children)}</{tag}>")


def name(text: Any) -> Html:
    """Return an identifier that can be wrapped after underscores and dots and before capitals."""
    shown = re.sub(r"([_./]|[a-z](?=[A-Z]))", r"\1<wbr>", escaped(str(text)))
    return element("code", Html(shown))


def table(header: list[Any], rows: list[list[Any]], caption: str, class_: str | None = None) -> Html:
    """Return a table with horizontal scrolling; the first cell of a row is its header.

    Args:
      header: cells of the first row.
      rows: cells of the other rows.
      caption: description of the table, for screen readers.
      class_: CSS class of the table.
    """
    head = element("tr", [element("th", cell, scope="col") for cell in header])
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]]) for row in rows
    ]
    table_element = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", head),
        element("tbody", body),
        class_=class_,
    )
    return element("div", table_element, class_="scroll", role="region", aria_label=caption, tabindex="0")


def bulleted(items: list[Any]) -> Html:
    """Return a bulleted list of items."""
    return element("ul", [element("li", item) for item in items])


def section(title: str, *content: Any, level: int = 2) -> Html:
    """Return a section with a heading; its link anchor is the title in lower case with hyphens."""
    heading = element(f"h{level}", title)
    return element("section", heading, content, id=anchor(title))


def anchor(title: str) -> str:
    """Return the id of the section called `title`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def guarded(make: Callable[[], Any]) -> Html:
    """Return the HTML that `make` creates, or a sentence about a file whose form this project does not write."""
    try:
        return escaped(make())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return element(
            "p", f"This cannot be shown: a file has not the form that this project writes ({reason}).", class_="warn"
        )


def page(title: str, lead: Any, sections: dict[str, Html]) -> str:
    """Return a whole self-contained page.

    Args:
      title: title of the page, also its first heading.
      lead: content below the title.
      sections: sections by title, created by `section`; the page links to each.
    """
    links = [element("li", element("a", heading, href=f"#{anchor(heading)}")) for heading in sections]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Html(STYLE)),
    )
    body = element(
        "body",
        element("header", element("h1", title), lead),
        element("nav", element("ul", links), aria_label="Sections"),
        element("main", list(sections.values())),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"
