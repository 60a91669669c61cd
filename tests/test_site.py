"""The site builds without a warning, and a browser misses nothing on it."""

import contextlib
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urldefrag

import pytest
from playwright.sync_api import sync_playwright

import keras_gumbel as kg
from tests.test_public_api import NAMES

# It is built once for all of these, in half a minute.
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = "-m", "mkdocs", "build", "--strict", "--site-dir", folder
    process = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return folder


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        if path is None and not Path(own).exists():
            pytest.skip(f"no browser is installed: none of {BROWSERS}")
        chromium = playwright.chromium.launch(executable_path=path or own)
        yield chromium
        chromium.close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Say nothing."""


@contextlib.contextmanager
def served(folder):
    """The address of a folder."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


LOOK = """() => ({
    links: [...document.querySelectorAll("a[href]")].map(a => a.href),
    anchors: [...document.querySelectorAll("[id]")].map(e => e.id),
    pictures: [...document.images].map(i => [i.src, i.naturalWidth]),
    styled: [...document.styleSheets].length,
})"""


def crawl(browser, home):
    """All pages that are reached from `home`, and what is wrong with them."""
    wrong = set()

    def failed(request):
        # What is cut off by leaving a page, such as its icon, is not missing.
        if request.failure != "net::ERR_ABORTED":
            wrong.add(f"no {request.url}")

    page = browser.new_page()
    page.on("pageerror", lambda error: wrong.add(f"script: {error}"))
    page.on("requestfailed", failed)
    page.on(
        "response",
        lambda got: got.ok or wrong.add(f"{got.status} {got.url}"),
    )

    def is_here(url):
        return url.startswith(home)

    def stay(route):
        if is_here(route.request.url):
            return route.continue_()
        wrong.add(f"from elsewhere: {route.request.url}")
        return route.abort()

    page.route("**/*", stay)
    seen, to_see, links = {}, [home], set()
    while to_see:
        url = to_see.pop()
        page.goto(url)
        seen[url] = found = page.evaluate(LOOK)
        wrong |= {f"empty {src}" for src, size in found["pictures"] if not size}
        ours = set(filter(is_here, found["links"]))
        links |= {(url, link) for link in ours}
        new = {urldefrag(link).url for link in ours} - {*seen, *to_see}
        to_see += sorted(link for link in new if link.endswith((".html", "/")))
    for url, link in links:
        target, anchor = urldefrag(link)
        if target in seen:
            if anchor and anchor not in seen[target]["anchors"]:
                wrong.add(f"{url} links to no {link}")
        elif not page.request.get(target).ok:
            wrong.add(f"{url} links to no {link}")
    page.close()
    return {url.removeprefix(home): found for url, found in seen.items()}, wrong


def test_every_page_is_whole(site, browser):
    with served(site) as home:
        pages, wrong = crawl(browser, home)
    assert wrong == set()
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    # The home page has two names; 404 is for what is not there.
    assert {*pages} - {""} == built - {"404.html"}
    assert all(found["styled"] >= 2 for found in pages.values())


def test_every_picture_of_the_gallery_is_shown(site, browser):
    with served(site) as home:
        page = browser.new_page()
        for guide in sorted((ROOT / "docs" / "gallery").glob("*.md")):
            stem = "index" if guide.stem == "README" else guide.stem
            page.goto(f"{home}docs/gallery/{stem}.html")
            named = re.findall(r"\]\(.*?([\w-]+\.png)\)", guide.read_text())
            shown = page.evaluate(LOOK)["pictures"]
            widths = {Path(src).name: width for src, width in shown}
            assert all(widths[name] > 300 for name in named)
            if guide.stem != "README":
                # The program is below, and says whose page this is.
                assert "import keras_gumbel" in page.inner_text("article")
        page.close()


WIDTHS = """() => ({
    page: document.documentElement.scrollWidth,
    wide: [...document.querySelectorAll("article table, article img")]
        .filter(e => e.closest(".md-typeset__scrollwrap") === null)
        .map(e => Math.ceil(e.getBoundingClientRect().right)),
})"""


@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_every_page_fits_its_width(site, browser, width):
    """A table of many columns may scroll by itself on a phone."""
    page = browser.new_page(viewport={"width": width, "height": 900})
    wide = {}
    with served(site) as home:
        for path in sorted(site.rglob("*.html")):
            page.goto(home + path.relative_to(site).as_posix())
            found = page.evaluate(WIDTHS)
            right = max([found["page"], *found["wide"]])
            if right > width + 1:
                wide[path.name] = right
    page.close()
    assert wide == {}


def test_the_gallery_has_thumbnails(site, browser):
    with served(site) as home:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{home}docs/gallery/index.html")
        heights = page.evaluate(
            "() => [...document.querySelectorAll('article img')]"
            ".map(i => i.getBoundingClientRect().height)"
        )
        page.close()
    assert len(heights) >= 20
    assert all(0 < height <= 240 for height in heights)


def test_search_finds(site, browser):
    with served(site) as home:
        page = browser.new_page()
        page.goto(home)
        page.click(".md-search__input")
        page.keyboard.type("HardConcreteGate", delay=10)
        result = page.locator(".md-search-result__link").first
        result.wait_for(timeout=20_000)
        assert "docs/api/layers.html" in result.get_attribute("href")
        page.close()


def test_every_public_name_is_in_the_reference(site):
    pages = (site / "docs" / "api").glob("*.html")
    entries = re.findall(
        r'id="keras_gumbel\.([\w.]+)"', " ".join(map(Path.read_text, pages))
    )
    described = {entry.split(".")[-1] for entry in entries}
    modules = {module.__name__.split(".")[-1] for module in NAMES}
    public = set.union(*NAMES.values()) - modules
    assert public - described - {"callbacks", "layers"} == set()


def test_a_session_is_shown_as_code_and_call_arguments_by_name(site):
    text = (site / "docs" / "api" / "layers.html").read_text()
    # Of each layer; and of `kg.remat`, which is on this page too.
    layers = sum(name[0].isupper() for name in vars(kg.layers))
    assert text.count("Call arguments") == text.count("Examples:") - 1 == layers
    assert "&gt;&gt;&gt;" in text
    assert "<blockquote>" not in text


def test_what_is_wrong_is_found(tmp_path, browser):
    (tmp_path / "index.html").write_text(
        '<a href="other.html">a</a> <a href="gone.html">b</a>'
        '<a href="other.html#gone">c</a> <a href="gone.py">d</a>'
        '<img src="gone.png"> <img src="empty.png">'
        '<script src="https://example.org/x.js"></script>'
        "<script>undefined_name()</script>"
    )
    (tmp_path / "other.html").write_text('<a href="index.html">back</a>')
    (tmp_path / "empty.png").write_text("")
    with served(tmp_path) as home:
        pages, wrong = crawl(browser, home)
    found = "\n".join(sorted(wrong)).replace(home, "")
    assert {*pages} == {"", "index.html", "other.html", "gone.html"}
    for what in (
        "404 gone.html",
        "404 gone.png",
        "empty empty.png",
        " links to no other.html#gone",
        " links to no gone.py",
        "from elsewhere: https://example.org/x.js",
        "undefined_name is not defined",
    ):
        assert what in found
