"""The arrows between the parts of the package, and what is said of them."""

import ast
import pathlib
import re

import pytest

import keras_gumbel
from tests.mutants import MUTANTS

ROOT = pathlib.Path(keras_gumbel.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A part is a folder or a module of the package; each may import itself and
# what is listed here.
ARROWS = {
    "__init__": {
        "_framework",
        "_version",
        "callbacks",
        "diagnostics",
        "distributions",
        "estimators",
        "export",
        "layers",
        "losses",
        "metrics",
        "ops",
        "rematerialization",
        "schedules",
    },
    "export": {"layers", "_tracing", "backend", "_validation", "_typing"},
    "distributions": {
        "layers",
        "losses",
        "ops",
        "estimators",
        "numerics",
        "backend",
        "_validation",
        "_typing",
    },
    "layers": {
        "ops",
        "estimators",
        "numerics",
        "losses",
        "metrics",
        "_tracing",
        "_validation",
        "_typing",
    },
    "diagnostics": {
        "ops",
        "estimators",
        "numerics",
        "backend",
        "_validation",
        "_typing",
    },
    "ops": {
        "estimators",
        "numerics",
        "_tracing",
        "backend",
        "_validation",
        "_typing",
    },
    "estimators": {
        "numerics",
        "backend",
        "_validation",
        "_typing",
    },
    "numerics": {"_tracing", "backend", "_typing"},
    "losses": {"numerics", "backend", "_validation", "_typing"},
    "metrics": {"backend", "_validation", "_typing"},
    "rematerialization": {"backend", "_validation", "_typing"},
    "callbacks": {"_validation", "_typing"},
    "schedules": {"_validation", "_typing"},
    "_tracing": {"backend", "_typing"},
    "backend": {"_framework", "_typing"},
    "_framework": set(),
    "_validation": {"backend", "_typing"},
    "_typing": set(),
    "_version": set(),
}
TENSORFLOW = "backend/tensorflow"
PROBABILITY = "distributions"


def imported_modules(source):
    """Every module that the source imports, at any depth of nesting."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            # Relative imports would hide the arrow, so none is allowed.
            yield "." * node.level + (node.module or "")
            for alias in node.names:
                yield f"{'.' * node.level}{node.module or ''}.{alias.name}"


def part_of(path):
    """`layers` for `layers/x.py`, `losses` for `losses.py`."""
    first = path.parts[0]
    return first.removesuffix(".py")


def violations(root):
    """Each import and statement of the package at `root` that is wrong."""
    parts = {part_of(path.relative_to(root)) for path in root.rglob("*.py")}
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        source, part = path.read_text(), part_of(relative)
        if part not in ARROWS:
            yield f"{relative}: a part without arrows, {part}"
            continue
        for module in imported_modules(source):
            names = module.split(".")
            inside = relative.as_posix().startswith(f"{TENSORFLOW}/")
            if names[0] == "tensorflow" and not inside:
                yield f"{relative}: imports tensorflow"
            is_backend = part == "backend"
            in_jax = relative.as_posix().startswith("backend/jax/")
            if names[0] == "jax" and not in_jax:
                yield f"{relative}: imports jax"
            in_torch = relative.as_posix().startswith("backend/torch/")
            if names[0] == "torch" and not in_torch:
                yield f"{relative}: imports torch"
            if names[:2] == ["keras", "src"] and not is_backend:
                yield f"{relative}: imports a private name of Keras"
            if names[0] == "tensorflow_probability" and part != PROBABILITY:
                yield f"{relative}: imports tensorflow_probability"
            if names[0] == "":
                yield f"{relative}: imports {module} by a relative path"
            if names[0] != root.name or len(names) < 2:
                continue
            other = names[1]
            # `from keras_gumbel import f` may be of a name in `__init__`.
            other = other if other in parts else "__init__"
            if other != part and other not in ARROWS[part]:
                yield f"{relative}: {part} -> {other}"
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Assert):
                yield f"{relative}: assert in line {node.lineno}"


def test_every_backend_has_the_same_names():
    """Read from its source: not each is installed."""
    names = {}
    for backend in ("jax", "tensorflow", "torch"):
        source = (ROOT / "backend" / backend / "__init__.py").read_text()
        (listed,) = (
            node.value
            for node in ast.parse(source).body
            if isinstance(node, ast.Assign)
        )
        names[backend] = ast.literal_eval(listed)
    assert names["jax"] == names["tensorflow"] == names["torch"]
    contract = (ROOT / "backend" / "__init__.py").read_text()
    assert all(f"\n    {name}(" in contract for name in names["jax"])


def test_the_package_keeps_to_the_arrows():
    assert FILES
    assert list(violations(ROOT)) == []


def test_every_arrow_is_of_a_part_that_exists():
    parts = {part_of(path.relative_to(ROOT)) for path in FILES}
    assert set(ARROWS) == parts
    assert set().union(*ARROWS.values()) <= parts


def test_the_arrows_have_no_circle():
    order = []

    def visit(part, above):
        assert part not in above, f"a circle through {part}"
        for other in sorted(ARROWS[part]):
            visit(other, above | {part})
        order.append(part)

    for part in ARROWS:
        visit(part, frozenset())
    assert "backend" in order


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("ops/bad.py", "import tensorflow as tf", "imports tensorflow"),
        ("ops/bad.py", "import tensorflow.raw_ops", "imports tensorflow"),
        ("backend/jax.py", "from tensorflow import io", "imports tensorflow"),
        ("ops/bad.py", "import jax.numpy as jnp", "imports jax"),
        ("backend/jax.py", "import torch", "imports torch"),
        ("ops/bad.py", "import keras_gumbel.layers", "ops -> layers"),
        ("ops/bad.py", "from keras_gumbel import layers", "ops -> layers"),
        ("ops/bad.py", "import keras_gumbel.layers.x", "ops -> layers"),
        ("ops/bad.py", "from keras_gumbel.layers import x", "ops -> layers"),
        ("numerics.py", "from keras_gumbel import ops", "numerics -> ops"),
        ("callbacks/bad.py", "import keras_gumbel.layers", "-> layers"),
        ("layers/bad.py", "from keras_gumbel import backend", "-> backend"),
        ("layers/bad.py", "from keras_gumbel import GumbelSoftmax", "-> __in"),
        ("export/bad.py", "from keras.src import tree", "private name"),
        ("ops/bad.py", "from . import noise", "relative path"),
        ("ops/bad.py", "from ..layers import x", "relative path"),
        ("ops/bad.py", "def f(x):\n    assert x", "assert in line 2"),
        ("ops/bad.py", "def f():\n    import tensorflow", "imports tensorflow"),
        ("ops/bad.py", "from keras_gumbel import diagnostics", "diagnostics"),
        ("distributions/bad.py", "import tensorflow", "imports tensorflow"),
        (
            "layers/bad.py",
            "from tensorflow_probability import util",
            "imports tensorflow_probability",
        ),
        ("new.py", "", "a part without arrows"),
    ],
)
def test_the_checker_can_fail(file, line, complaint, tmp_path):
    """One planted violation, in a package that is in order otherwise."""
    root = tmp_path / "keras_gumbel"
    parts = ("layers", "ops", "callbacks", "backend", "diagnostics", "export")
    for part in (*parts, PROBABILITY):
        (root / part).mkdir(parents=True)
        (root / part / "__init__.py").touch()
    (root / "__init__.py").write_text("from keras_gumbel.ops import x as x\n")
    (root / "numerics.py").touch()
    (root / TENSORFLOW).mkdir()
    (root / TENSORFLOW / "x.py").write_text("import tensorflow as tf\n")
    (root / "ops/good.py").write_text("from keras_gumbel import backend\n")
    (root / PROBABILITY / "good.py").write_text(
        "import tensorflow_probability as tfp\n"
    )
    assert list(violations(root)) == []
    (root / file).write_text(line + "\n")
    found = list(violations(root))
    assert found
    assert all(complaint in one for one in found)


PAGE = (ROOT.parent / "ARCHITECTURE.md").read_text()
TREE = PAGE.split("```")[1]


def test_every_part_of_the_package_is_in_the_tree():
    parts = {path.name for path in ROOT.iterdir() if path.suffix == ".py"}
    parts |= {path.parent.name + "/" for path in ROOT.glob("*/__init__.py")}
    assert sorted(part for part in parts if part not in TREE) == []


def test_every_name_in_the_tree_is_there():
    """Files by their names; folders; and the modules of `numerics`."""
    files = {path.name for path in ROOT.parent.rglob("*.py")}
    assert {*re.findall(r"\b\w+\.py\b", TREE)} <= files
    top = ROOT.parent
    folders = [*ROOT.rglob("*/"), *top.glob("[a-z]*/"), *top.glob("[a-z]*/*/")]
    named = {*re.findall(r"(?<![\w/])(\w+)/", TREE)}
    assert named <= {folder.name for folder in folders if folder.is_dir()}
    rows = re.findall(r"^ {4}([a-z_]+(?:  [a-z_]+)*)(?: {3,}|$)", TREE, re.M)
    modules = {name for row in rows for name in row.split()}
    assert len(modules) > 10
    assert modules <= {path.stem for path in (ROOT / "numerics").glob("*.py")}


def test_the_walk_from_call_to_bits():
    """At most seven files; each has what is said, and leads to the next."""
    text = (ROOT.parent / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+) \|$", text, re.M)
    assert 1 < len(rows) <= 7
    sources = [(ROOT / name).read_text() for name, _ in rows]
    named = [re.findall(r"`(\w+)`", told) for _, told in rows]
    for source, names in zip(sources, named, strict=True):
        for name in names:
            assert re.search(rf"^ *(def|class) {name}\b", source, re.M), name
    # `_program` runs the formula of the file before it, which perturbs.
    for n, names in enumerate(named[1:], 1):
        earlier = "".join(sources[:n])
        assert any(re.search(rf"\b{name}\(", earlier) for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_file_is_long(path):
    assert len(path.read_text().splitlines()) <= 300


def test_each_planted_bug_has_its_line():
    """A bug whose line has moved would plant nothing."""
    counts = {
        mutant.name: (ROOT / mutant.file).read_text().count(mutant.old)
        for mutant in MUTANTS
    }
    assert {name: n for name, n in counts.items() if n != 1} == {}
