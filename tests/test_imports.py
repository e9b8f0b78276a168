"""Who may import whom: configs know nothing, the tokenizer no network, and the two implementations not each other."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"jax", "flax", "optax", "orbax", "torch"}
FORBIDDEN = {
    "configs": {"tokenizer", "jax_impl", "torch_ref", "numpy", *FRAMEWORKS},
    "tokenizer": {"jax_impl", "torch_ref", "parity_tests", *FRAMEWORKS},
    "jax_impl": {"torch_ref", "parity_tests", "tests", "torch"},
    "torch_ref": {"jax_impl", "parity_tests", "tests", *(FRAMEWORKS - {"torch"})},
    "tests": {"torch", "torch_ref", "parity_tests"},
    "attention": {"configs", "tokenizer"},
}
FOLDERS = {name: ROOT / name for name in FORBIDDEN} | {"attention": ROOT / "jax_impl" / "attention"}


def imports(path: Path) -> set[str]:
    """Top-level names of every import of a file, those inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_goes_in_a_forbidden_direction(package):
    files = sorted(FOLDERS[package].rglob("*.py"))
    assert files or package == "torch_ref"
    found = {str(path.relative_to(ROOT)): sorted(imports(path) & FORBIDDEN[package]) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


def test_configs_need_the_standard_library_alone():
    allowed = {*sys.stdlib_module_names, "configs"}
    assert {name for path in FOLDERS["configs"].glob("*.py") for name in imports(path)} <= allowed


def test_attention_implementations_do_not_import_each_other():
    for path in FOLDERS["attention"].glob("*.py"):
        if path.stem in ("reference", "xla"):
            modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
            assert not modules & {"jax_impl.attention.reference", "jax_impl.attention.xla", "jax_impl.attention"}
