"""Who may import whom. A room imports only from rooms on floors below its own,
and the files of a room import no circle.

configs know nothing, the tokenizer no network, the two implementations not each other, and attention no music.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

# Ground floor first. A floor is a room (a folder) or a file; __init__ is the face of the package, light because no
# dataset is below it; that of jax_impl loads what it names when it is asked for.
FLOORS = {
    "tokenizer": ("vocabulary", "disk", "music", "grid", "tokens", "__init__", "dataset"),
    "jax_impl": (
        *("__init__", "batch", "shipped", "attention", "loading", "device", "model"),
        *("training", "sampling", "evaluation", "finetuning", "page", "cli"),
    ),
}
FRAMEWORKS = {"jax", "flax", "optax", "orbax", "torch"}
TESTS = {"tests", "parity_tests", "benchmarks"}
FORBIDDEN = {
    "configs": {"tokenizer", "jax_impl", "torch_ref", "numpy", *FRAMEWORKS, *TESTS},
    "tokenizer": {"jax_impl", "torch_ref", *FRAMEWORKS, *TESTS},
    "tokenizer/disk": {"numpy", "pyarrow"},
    "tokenizer/music": {"pyarrow"},
    "tokenizer/grid": {"pyarrow"},
    "tokenizer/tokens": {"pyarrow"},
    "jax_impl": {"torch_ref", "torch", *TESTS},
    "jax_impl/attention": {"configs", "tokenizer"},
    "torch_ref": {"jax_impl", *(FRAMEWORKS - {"torch"}), *TESTS},
    "tests": {"torch", "torch_ref", "parity_tests", "benchmarks"},
    "parity_tests": {"benchmarks"},
}
HEAVY = {"jax", "torch", "pyarrow", "matplotlib", "ray"}


def imports(path: Path, root: Path = ROOT) -> set[str]:
    """Dotted names of the modules that a file imports, inside functions too; `from a import b` is a.b where that is a
    module.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: a relative import"
            for alias in node.names:
                inside = root.joinpath(*node.module.split("."), alias.name)
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                names.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return names


def files_of(package: str, root: Path = ROOT) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a package that a module such as jax_impl.model.masks lies in; of the package itself, its face."""
    return module.split(".")[1] if "." in module else "__init__"


def climbing(package: str, floors: tuple[str, ...], root: Path = ROOT) -> list[str]:
    """Each import of a package's own modules that does not go down, and each room that no floor is known of."""
    found = []
    for path in files_of(package, root):
        here = path.relative_to(root / package).with_suffix("").parts[0]
        if here not in floors:
            found.append(f"{package}/{here} has no floor")
            continue
        for module in sorted(name for name in imports(path, root) if name.split(".")[0] == package):
            there = room_of(module)
            if there not in floors[: floors.index(here) + 1]:
                found.append(f"{path.relative_to(root)} imports {module}")
    return found


def circle(package: str, root: Path = ROOT) -> list[str] | None:
    """Modules of a package that import each other in a circle, or None."""
    graph = {}
    for path in files_of(package, root):
        parts = path.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if not (path.name == "__init__.py" and path.parent == root / package):  # the face stands above its rooms
            graph[module] = {name for name in imports(path, root) if name.split(".")[0] == package and name != package}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_import_goes_in_a_forbidden_direction(package):
    assert files_of(package)
    top_level = {path: {name.split(".")[0] for name in imports(path)} for path in files_of(package)}
    assert {path: names & FORBIDDEN[package] for path, names in top_level.items() if names & FORBIDDEN[package]} == {}


@pytest.mark.parametrize("package", FLOORS)
def test_no_import_climbs(package):
    assert climbing(package, FLOORS[package]) == []


@pytest.mark.parametrize("package", [*FLOORS, "configs", "torch_ref", "tests", "parity_tests"])
def test_no_import_goes_in_a_circle(package):
    assert circle(package) is None


def test_an_import_that_climbs_or_goes_in_a_circle_is_found(tmp_path):
    house = {
        "house/__init__.py": "from house.upper.roof import tiles",
        "house/lower/floor.py": "def stand():\n    from house.upper import roof",
        "house/lower/carpet.py": "from house.lower import floor",
        "house/upper/roof.py": "from house.lower.floor import stand",
        "house/attic/box.py": "",
    }
    for name, text in house.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    floors = ("lower", "upper", "__init__")
    assert climbing("house", floors, tmp_path) == [
        "house/attic has no floor",
        "house/lower/floor.py imports house.upper.roof",
    ]
    assert set(circle("house", tmp_path)) == {"house.lower.floor", "house.upper.roof"}
    (tmp_path / "house/lower/floor.py").write_text("import house.lower.carpet", encoding="utf-8")
    assert climbing("house", floors, tmp_path) == ["house/attic has no floor"]
    assert set(circle("house", tmp_path)) == {"house.lower.floor", "house.lower.carpet"}


def test_configs_need_the_standard_library_alone():
    allowed = {*sys.stdlib_module_names, "configs"}
    assert {name.split(".")[0] for path in files_of("configs") for name in imports(path)} <= allowed


def test_attention_implementations_do_not_import_each_other():
    of_files = {"reference": ["reference"], "xla": ["xla"]}
    of_files["pallas"] = ["pallas", "pallas_forward", "pallas_backward", "hopper"]
    for own, stems in of_files.items():
        others = {f"jax_impl.attention.{stem}" for name, others in of_files.items() if name != own for stem in others}
        for stem in stems:
            assert not imports(ROOT / "jax_impl" / "attention" / f"{stem}.py") & {*others, "jax_impl.attention"}, stem


def test_the_face_of_the_tokenizer_is_light():
    """`import tokenizer` and a song through it load nothing heavy."""
    program = (
        "import sys, numpy as np, tokenizer\n"
        "score = tokenizer.decode(np.zeros(0, np.int32))\n"
        "assert tokenizer.decode(tokenizer.encode(score).ids) == tokenizer.snap(score)\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    assert done.stdout == "[]\n"


def test_the_face_of_the_jax_implementation_is_light_and_all_of_it_is_there():
    program = (
        "import sys, jax_impl\n"
        f"print(sorted({HEAVY} & set(sys.modules)))\n"
        "assert set(jax_impl.FACE) < set(dir(jax_impl))\n"
        "print([getattr(jax_impl, name).__name__ == name for name in jax_impl.FACE])\n"
        "from jax_impl import lauder"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.stdout == "[]\n[True, True, True, True, True]\n", done.stderr
    assert "cannot import name 'lauder' from 'jax_impl'" in done.stderr


def test_writing_a_song_loads_what_draws_and_plays_only_where_it_draws_and_plays():
    program = (
        "import sys, jax_impl.sampling.outputs, jax_impl.sampling.compose\n"
        "from jax_impl.sampling import sound\n"
        "sound.packaged()\n"
        "heavy = {'matplotlib', 'midirenderer', 'pretty_midi', 'scipy.signal', 'grain', 'orbax', 'pyarrow',\n"
        "         'jax.experimental.pallas', 'jax.experimental.mosaic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    assert done.stdout == "[]\n"
