"""Text is UTF-8 wherever it is read or written: the locale's encoding would be another on another machine."""

import ast

import pytest

from tests import ROOT

PACKAGES = ("configs", "tokenizer", "jax_impl", "torch_ref", "tests", "parity_tests", "benchmarks")


def without_encoding(source: str) -> list[int]:
    """Lines of calls that open text, or read a program's, without saying in which encoding."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg == "encoding" for keyword in node.keywords):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        owner = getattr(getattr(node.func, "value", None), "id", "")
        keywords = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        if name == "open" and owner not in ("os", "tarfile", "wave", "webbrowser"):
            place = 0 if isinstance(node.func, ast.Attribute) else 1  # path.open(mode), open(path, mode)
            mode = node.args[place].value if len(node.args) > place else keywords.get("mode", "r")
            if "b" not in mode:
                found.append(node.lineno)
        elif name in ("read_text", "write_text") and isinstance(node.func, ast.Attribute):  # of a path
            found.append(node.lineno)
        if keywords.get("text") is True:
            found.append(node.lineno)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_text_is_opened_as_utf_8(package):
    files = sorted((ROOT / package).rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert files and found == []


def test_text_that_is_opened_as_the_locale_says_is_found():
    calls = ('open("x")', 'path.open("w")', "path.read_text()", 'path.write_text("x")', "run(x, text=True)")
    assert [without_encoding(call) for call in calls] == [[1]] * len(calls)
    fine = ('open("x", "rb")', 'path.open("ab")', 'path.read_text(encoding="utf-8")', "os.open(path, flags)")
    assert [without_encoding(call) for call in fine] == [[]] * len(fine)
