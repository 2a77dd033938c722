"""First words of docstrings: imperative verbs and noun phrases, no relative clauses; and paths of machines."""

import ast
import pathlib
import re

import pytest

FORBIDDEN_WORDS = {"What", "Whatever", "Those", "How", "Where", "Whether"}
FORBIDDEN_BEGINNING = "That of"
READS_AS_NONE = re.compile(r"\b(?:is|are)\s+none\b")  # say what is absent or not valid
ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("recsys_po_rl", "tests", "benchmarks", "examples")
MODULES = sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))])


def forbidden_docstrings(source):
    """Return line numbers and first lines of docstrings with a forbidden beginning."""
    forbidden = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        docstring = ast.get_docstring(node)
        if not docstring:
            continue
        first_word = docstring.split(maxsplit=1)[0].strip(".,:;'`")
        if (
            first_word in FORBIDDEN_WORDS
            or docstring.startswith(FORBIDDEN_BEGINNING)
            or READS_AS_NONE.search(docstring)
        ):
            forbidden.append((node.body[0].lineno, docstring.splitlines()[0]))
    return forbidden


@pytest.mark.parametrize("path", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_docstrings_begin_with_a_verb_or_a_noun(path):
    assert forbidden_docstrings(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("first_line", "is_forbidden"),
    [
        ("What a slate is worth.", True),
        ("Whatever is left.", True),
        ("Those of a user.", True),
        ("How users drift.", True),
        ("Where files are.", True),
        ("Whether a run can be resumed.", True),
        ("That of the policy.", True),
        ("Return the slates.", False),
        ("Learned state-value baseline.", False),
        ("Thatched roof.", False),
        ("Return the rows, empty if there are none.", True),
    ],
)
def test_forbidden_beginnings_are_found_in_modules_classes_and_functions(first_line, is_forbidden):
    source = f'"""{first_line}"""\nclass A:\n    """{first_line}"""\n    def f():\n        """{first_line}"""\n'
    assert [line for line, _ in forbidden_docstrings(source)] == ([1, 3, 5] if is_forbidden else [])


def test_no_file_names_a_folder_of_one_machine():
    folders = re.compile(r"(?<![\w.>])/(?:tmp|root|home|work|usr/local)/")
    assert folders.search("python -m venv /tmp" + "/env")
    endings = (".py", ".md", ".gin", ".toml", ".json", ".csv")
    files = [path for folder in (*FOLDERS, "docs") for path in (ROOT / folder).rglob("*") if path.suffix in endings]
    files += [path for path in ROOT.iterdir() if path.suffix in endings]
    assert [str(path) for path in files if folders.search(path.read_text(encoding="utf-8"))] == []
