"""HTML by construction."""

import re

import pytest

from recsys_po_rl.reporting.html import markup, style
from recsys_po_rl.reporting.html.markup import Html, element
from tests.support.run_folder import HOSTILE, Page


def test_elements_nest_and_everything_else_is_escaped():
    made = element("p", "a < b & ", element("b", 'say "x"'), None, ["1", 2], class_="x", aria_label='"', href=None)
    assert made == '<p class="x" aria-label="&quot;">a &lt; b &amp; <b>say &quot;x&quot;</b>12</p>'
    assert element("meta", charset="utf-8") == '<meta charset="utf-8">'
    assert markup.escaped(Html("<b>")) == "<b>"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_texts_wherever_they_stand(text):
    page = markup.page(
        text,
        element("p", text, title=text),
        {
            text: markup.section(
                text,
                markup.table([text, markup.name(text)], [[text, text]], text, text),
                markup.bulleted([text]),
            )
        },
    )
    parsed = Page(page)
    assert parsed.tags.count("script") == parsed.tags.count("img") == 0
    page.encode()
    assert not re.search(r"[\x00-\x08\x1b]", page)
    shown = re.sub("[\x00\x1b]", "\ufffd", text).replace("\ud800", "?")
    assert " ".join(shown.split()) in parsed.text


def test_a_page_may_load_nothing_and_knows_both_themes():
    page = markup.page("t", "lead", {"One": markup.section("One", "text")})
    assert "default-src 'none'" in markup.POLICY
    assert element("meta", http_equiv="Content-Security-Policy", content=markup.POLICY) in page
    assert "prefers-color-scheme: dark" in page
    parsed = Page(page)
    assert ("a", "href", "#one") in parsed.attributes
    assert "one" in parsed.ids


def luminance(colour):
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [of / 12.92 if of <= 0.03928 else ((of + 0.055) / 1.055) ** 2.4 for of in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("theme", [style._LIGHT, style._DARK], ids=["light", "dark"])
def test_contrasts_are_those_of_the_guidelines(theme):
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", theme))
    for text in ("front", "muted", "link"):
        for back in ("back", "card"):
            assert contrast(colours[text], colours[back]) >= 4.5, (text, back)
    assert contrast(colours["warn-front"], colours["warn-back"]) >= 4.5
    for line in [f"s{number}" for number in range(style.NUM_STYLES)] + ["bar", "bar-informed"]:
        assert contrast(colours[line], colours["back"]) >= 3.0, line
