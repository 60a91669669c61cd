"""Every example runs, says what it should, and is short and public."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(ROOT.glob("examples/*.py"))


@pytest.fixture
def run(tmp_path):
    """The standard output of an example, run away from the repository."""

    def run_example(name, *arguments):
        script = ROOT / "examples" / name
        process = subprocess.run(
            [sys.executable, script, "--smoke", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    return run_example


def ink(path):
    """How dark a picture is, from 0 for white to 1."""
    picture = matplotlib.image.imread(path)
    return 1 - picture[..., :3].mean(axis=-1)


def test_differentiable_argmax(run):
    output = run("differentiable_argmax.py")
    assert "gradients: [None]" in output

    lines = re.findall(r"Training .*|Testing .*", output)
    assert len(lines) == 2 * 4
    assert lines[:4] == lines[4:]
    tested = re.findall(r"expected y=\[(\d)\.\] pred=(\S+)", output)
    assert len(tested) == 2
    assert all(int(index) == round(float(pred)) for index, pred in tested)

    counts = dict(re.findall(r"temperature (\S+): (\d+) of 20", output))
    assert int(counts["0.75"]) < 20
    assert int(counts["10.0"]) == 20

    cells = r"([\d.]+), +(\d+)/20"
    rows = re.findall(rf"^ *(\d+) +{cells} +{cells} +{cells}$", output, re.M)
    assert [row[0] for row in rows] == ["5", "50"]
    for _, error_fixed, fixed, _, _, error, annealed in rows:
        assert int(annealed) == 20 > int(fixed)
        assert float(error) < 0.01 < float(error_fixed)


def test_categorical_vae(run, tmp_path):
    output = run("categorical_vae.py", "--output", tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"

    elbo, no_code = map(
        float,
        re.search(r"ELBO (\S+) nats, without code (\S+)", output).groups(),
    )
    # One epoch of the ten; a probability of counts is at most one.
    assert no_code + 50 < elbo < 0
    assert "temperature: 0.3000" in output

    difference = re.search(r"TensorFlow alone, .* difference (\S+)", output)
    assert float(difference[1]) <= 1e-6
    assert (folder / "categorical_vae" / "saved_model.pb").is_file()

    for row in np.array_split(ink(folder / "categorical_vae.png"), 3):
        assert row.std() > 0.1


def test_prune_digits(run, tmp_path):
    output = run("prune_digits.py", "--output", tmp_path / "new")
    row = r"^ +(\S+) +(\d+) +(\d+) +(\d+) +(0\.\d+) +(\d+)  (.*)$"
    dense, gated = re.findall(row, output, re.M)
    assert dense[:4] == ("dense", "64", "128", "64")
    assert int(dense[5]) == 65 * 128 + 129 * 64 + 65 * 10
    assert gated[6] == "453 of 453 predictions the same"
    # A part of every layer is gone, and of the answers only some.
    a, b, c = left = [int(count) for count in gated[1:4]]
    assert all(map(int.__lt__, left, (64, 128, 64)))
    assert int(gated[5]) == (a + 1) * b + (b + 1) * c + (c + 1) * 10
    assert 0.7 < float(gated[4]) < 1
    assert ink(tmp_path / "new" / "prune_digits.png").std() > 0.1


def report_rows(output):
    """The rows of a report, from estimator and temperature to the numbers."""
    cells = r"(\w+) +([\d.]+|-)" + r" +([-\d.e+]+)" * 5
    rows = re.findall(rf"^{cells}$", output, re.M)
    return {row[:2]: tuple(map(float, row[2:])) for row in rows}


ESTIMATORS = ("gapped_st", "gumbel_rao", "reinmax", "st", "st_gumbel")


def test_gradient_report(run, tmp_path):
    output = run("gradient_report.py", "--output", tmp_path / "new")
    for name, text in zip(
        ("quadratic", "cubic"), output.split("power 3: "), strict=True
    ):
        assert "relative to the exact one" in text
        rows = report_rows(text)
        assert set(rows) == {
            *((estimator, "1") for estimator in (*ESTIMATORS, "soft")),
            ("score_function", "-"),
        }
        # What theory says of bias: relative, and its standard error beside.
        bias, error, *_ = rows["score_function", "-"]
        assert bias < 5 * error
        bias, error, *_ = rows["reinmax", "1"]
        assert (bias < 5 * error) == (name == "quadratic")
        bias, error, *_ = rows["st", "1"]
        assert bias > 5 * error
        assert ink(tmp_path / "new" / f"gradients_{name}.png").std() > 0.05

        settled = dict(re.findall(r"^(\w+) +(0\.\d+)$", text, re.M))
        assert set(settled) == set(ESTIMATORS)
        best = float(re.search(r"the best choices give (\S+)", text)[1])
        # Not there after 200 steps, but on the way; from 0 on they are not.
        assert best < float(settled["reinmax"]) < float(settled["st"])


@pytest.mark.slow
def test_choose_an_estimator(run, tmp_path):
    """Eight programs are compiled, and trained: most of a minute."""
    output = run("choose_an_estimator.py", "--output", tmp_path / "new")
    methods = (*ESTIMATORS, "soft", "score_function", "exact")

    polynomial, output = output.split("VAE: ")
    for found in map(report_rows, (polynomial, output)):
        assert {name for name, _ in found} == {*methods} - {"exact"}
    rows = report_rows(output)
    bias, error, *_ = rows["score_function", "-"]
    assert bias < 5 * error

    no_code = float(re.search(r"without code (\S+)", output)[1])
    number = r"(-[\d.]+)"
    means = rf" +{number} \({number}, {number}\)"
    table = re.findall(
        rf"^(\w+) +(0.5|-){means}{means}; +{number}$", output, re.M
    )
    assert {row[0] for row in table} == {*methods}
    for _, _, *numbers in table:
        training, *_, test, lowest, highest, valid = map(float, numbers)
        # One epoch of the ten; a probability of counts is at most one.
        assert no_code + 10 < min(training, test, valid)
        assert max(training, test, valid) < 0
        assert lowest == test == highest

    for name in ("gradients_polynomial", "gradients_vae", "estimators_vae"):
        assert ink(tmp_path / "new" / f"{name}.png").std() > 0.05


def test_sort_numbers(run, tmp_path):
    output = run("sort_numbers.py", "--output", tmp_path / "new")
    rows = re.findall(r"^ *(\d+) +([\d.]+)% +([\d.]+)%$", output, re.M)
    assert [size for size, *_ in rows] == ["8", "4"]
    # By chance one list of 4 in 24 is sorted, and one of 8 in 40320.
    by_size = {size: float(share) for size, share, _ in rows}
    assert by_size["4"] > 50
    assert by_size["8"] > 5
    assert all(float(argmax) < float(share) for _, share, argmax in rows)
    assert ink(tmp_path / "new" / "sort_numbers.png").std() > 0.05


def test_unscramble_digits(run, tmp_path):
    output = run("unscramble_digits.py", "--output", tmp_path / "new")
    shares = r"tiles +([\d.]+)%, digits +([\d.]+)%"
    found = re.findall(rf"{shares}\n   by chance: {shares}", output)
    assert len(found) == 2
    for tiles, _, tiles_by_chance, _ in found:
        assert float(tiles) > 1.5 * float(tiles_by_chance)
    assert ink(tmp_path / "new" / "unscramble_digits.png").std() > 0.05


def test_every_example_is_run():
    assert {f"test_{path.stem}" for path in EXAMPLES} <= set(globals())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_short_and_documented(path):
    source = path.read_text()
    assert len(source.splitlines()) < 120
    assert ast.get_docstring(ast.parse(source))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_uses_what_is_public(path):
    tree = ast.parse(path.read_text())
    imports = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and "keras_gumbel" in ast.unparse(node)
    ]
    assert imports == ["import keras_gumbel as kg"]

    package = ast.parse((ROOT / "keras_gumbel" / "__init__.py").read_text())
    public = {
        alias.asname
        for node in package.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "kg"
    }
    assert used
    assert used <= public
