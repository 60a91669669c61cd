"""The README and the guides: what they show runs, what they name exists."""

import doctest
import pathlib
import re

import keras
import pytest

import keras_gumbel as kg
from tests.variants import slow

ROOT = pathlib.Path(__file__).parent.parent
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "api" / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
MARKDOWN = [*sorted(ROOT.glob("*.md")), *PAGES[1:]]
# Pages whose blocks compile much, or train a model, stop, and go on.
NAMES = ("choosing", "distributions", "estimators", "layers", "reproducibility")
DEAR = [ROOT / "docs" / f"{name}.md" for name in NAMES]

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page, *languages):
    """The fenced blocks of a page in one of the languages."""
    found = BLOCK.findall(page.read_text())
    return [text for language, text in found if language in languages]


def run(text, namespace):
    """A block of code, or of a session with its answers."""
    if not text.startswith(">>>"):
        exec(compile(text, "<block>", "exec"), namespace)
        return
    test = doctest.DocTestParser().get_doctest(
        text, namespace, "block", None, None
    )
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=report.append, clear_globs=False)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    namespace.update(test.globs)


@pytest.fixture(
    scope="module",
    params=[*(page for page in PAGES if page not in DEAR), *slow(*DEAR)],
    ids=lambda page: page.name,
)
def page_and_namespace(request, tmp_path_factory):
    """A page, and what its blocks leave behind, run in order."""
    namespace = {"__name__": "page"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        keras.utils.set_random_seed(0)
        for text in blocks(request.param, "python", "pycon"):
            run(text, namespace)
    return request.param, namespace


@pytest.mark.tensorflow
def test_every_python_block_runs(page_and_namespace):
    page, namespace = page_and_namespace
    if page == README:
        # And what it says of its first model is true.
        history = namespace["history"].history
        assert history["temperature"][-1] == pytest.approx(0.32, abs=0.01)
        assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_the_layers_of_the_table_are_used_as_it_shows():
    shown = re.findall(
        r"^\| `(kg\.\w+\(.*?\)\(\w+\))`", REFERENCE.read_text(), re.M
    )
    inputs = {
        "logits": keras.ops.ones((2, 512)),
        "features": keras.ops.ones((2, 16)),
        "numbers": keras.ops.ones((2, 3)),
        "matrices": keras.ops.ones((2, 4, 4)),
    }
    used = set()
    for use in shown:
        output = eval(use, {"kg": kg, **inputs})
        assert len(output) == 2
        used.add(re.match(r"kg\.(\w+)", use)[1])
    assert used == {name for name in vars(kg.layers) if name[0].isupper()}


def test_the_modes_of_inference_are_those_of_the_table():
    text = (ROOT / "docs" / "inference.md").read_text()
    rows = re.findall(r"^\| (`.*`) \| (.*`.*) \| (.*) \|$", text, re.M)
    required = {"GumbelTopK": (2,), "GumbelEmbedding": (3, 2)}
    required["GumbelQuantizer"] = (3, 2)
    required |= {"VectorQuantizer": (3,), "FiniteScalarQuantizer": ((3,),)}
    named = set()
    for names, meanings, modes in rows:
        defaults = re.findall(r"`\"(\w+)\"`", meanings)
        modes = re.findall(r"`\"(\w+)\"`", modes)
        for name in re.findall(r"`(\w+)`", names):
            named.add(name)
            layer_class = getattr(kg, name)
            arguments = required.get(name, ())
            for mode in modes:
                layer_class(*arguments, inference=mode)
            with pytest.raises(ValueError, match="inference") as error:
                layer_class(*arguments, inference="?")
            assert {*re.findall(r"'(\w+)'", str(error.value))} == {*modes}
            both = [{"hard": True}, {"hard": False}]
            variants = both if len(defaults) == 2 else [{}]
            for settings, default in zip(variants, defaults, strict=True):
                layer = layer_class(*arguments, **settings)
                assert layer.resolved_inference == default
    assert named == {name for name in vars(kg.layers) if name[0].isupper()}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_every_make_target_that_a_page_names_exists(page):
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    named = [
        target
        for text in blocks(page, "", "sh", "bash", "shell", "console")
        for target in re.findall(r"^\$?\s*make +([\w-]+)", text, re.MULTILINE)
    ]
    named += re.findall(r"`make ([\w-]+)", page.read_text())
    assert [target for target in named if target not in targets] == []
    if page == README:
        assert named


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page):
    text = page.read_text()
    named = [link for link in LINK.findall(text) if not re.match(r"\w+:", link)]
    paths = [page.parent / link for link in named]
    paths += [
        ROOT / path
        for path in re.findall(
            r"`((?:examples|studies|tests|benchmarks|docs|keras_gumbel)/[\w./-]*)`",
            text,
        )
    ]
    assert [str(path) for path in paths if not path.exists()] == []


def test_every_page_of_results_is_reached():
    """From a guide: the site has no other way to it."""
    linked = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in LINK.findall(page.read_text())
    }
    results = ROOT.glob("benchmarks/results/*.md")
    assert {path for path in results if path.resolve() not in linked} == set()


def test_a_block_that_is_wrong_is_found():
    with pytest.raises(ZeroDivisionError):
        run("x = 1 / 0\n", {})
    with pytest.raises(AssertionError):
        run(">>> 1 + 1\n3\n", {})
    namespace = {}
    run(">>> x = 1 + 1\n>>> x\n2\n", namespace)
    assert namespace["x"] == 2
