"""HTML by construction: whatever is not marked as HTML is escaped."""

import html
import re
from collections.abc import Callable
from typing import Any

from recsys_po_rl.reporting.html.style import STYLE

VOID = frozenset({"meta", "br", "wbr", "hr"})  # elements without content
# What a page may load: nothing. Should a text ever slip through unescaped, a browser does not run it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(content: Any) -> Html:
    """HTML that shows `content`: HTML as it is, the parts of a list in turn, nothing for None, other things escaped."""
    if content is None:
        return Html()
    if isinstance(content, Html):
        return content
    if isinstance(content, (list, tuple)):
        return Html("".join(escaped(part) for part in content))
    text = str(content).encode("utf-8", "replace").decode()  # lone surrogates, which JSON can hold, cannot be written
    return Html(html.escape(_CONTROL.sub("\ufffd", text), quote=True))


def element(tag: str, *children: Any, **attributes: Any) -> Html:
    """An element.

    Args:
      tag: its name.
      *children: its content, see `escaped`.
      **attributes: by name, a final underscore cut off and others written as hyphens; None leaves one out. Values are
        escaped.
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
    """An identifier, which may break after underscores and dots and before capitals where there is little room."""
    shown = re.sub(r"([_./]|[a-z](?=[A-Z]))", r"\1<wbr>", escaped(str(text)))
    return element("code", Html(shown))


def table(header: list[Any], rows: list[list[Any]], caption: str, class_: str | None = None) -> Html:
    """A table that can be scrolled sideways; the first cell of a row is its header.

    Args:
      header: cells of the first row.
      rows: cells of the others.
      caption: what the table shows, read out to those who do not see it.
      class_: CSS class of the table.
    """
    head = element("tr", [element("th", cell, scope="col") for cell in header])
    body = [
        element("tr", element("th", row[0], scope="row"), [element("td", cell) for cell in row[1:]]) for row in rows
    ]
    made = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", head),
        element("tbody", body),
        class_=class_,
    )
    return element("div", made, class_="scroll", role="region", aria_label=caption, tabindex="0")


def bulleted(items: list[Any]) -> Html:
    """A list with a bullet for each item."""
    return element("ul", [element("li", item) for item in items])


def section(title: str, *content: Any, level: int = 2) -> Html:
    """A section under a heading, which can be linked to by its title in small letters with hyphens."""
    heading = element(f"h{level}", title)
    return element("section", heading, content, id=anchor(title))


def anchor(title: str) -> str:
    """The id of the section called `title`."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def guarded(make: Callable[[], Any]) -> Html:
    """What `make` makes, or a sentence that says that a file has another form than this project writes."""
    try:
        return escaped(make())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return element(
            "p", f"This cannot be shown: a file has not the form that this project writes ({reason}).", class_="warn"
        )


def page(title: str, lead: Any, sections: dict[str, Html]) -> str:
    """A whole page, self-contained.

    Args:
      title: of the page, also its first heading.
      lead: below the title.
      sections: by title, made by `section`; there is a list of links to them.
    """
    links = [element("li", element("a", of, href=f"#{anchor(of)}")) for of in sections]
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
