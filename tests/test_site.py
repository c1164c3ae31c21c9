"""The site: it builds without a warning, is whole, and asks nothing of other hosts."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from inspect import getsourcelines
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

import vqvae_jax

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

# Attributes whose address a browser fetches when it shows a page.
FETCHED = {
    ("audio", "src"),
    ("iframe", "src"),
    ("img", "src"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("video", "src"),
}


class Page(HTMLParser):
    """The addresses in a page: those it fetches, those it links to, and the places in it."""

    def __init__(self, file):
        super().__init__()
        self.fetched, self.linked, self.places = [], [], {""}
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.places.add(given.get("id"))
        for name, value in given.items():
            if (tag, name) in FETCHED:
                self.fetched.append(value)
        if tag == "a" and "href" in given:
            self.linked.append(given["href"])


def is_remote(address):
    return re.match(r"([a-z]+:)?//", address) is not None


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; its notebooks run without network, and train for a few steps."""
    folder = tmp_path_factory.mktemp("site")
    sources = shutil.copytree(DOCS, folder / "docs")
    golden = Path("tests", "golden", "pretrained")  # what a notebook takes for a download
    shutil.copytree(ROOT / golden, folder / golden)
    for notebook in sources.rglob("*.ipynb"):
        notebook.write_text(
            re.sub(r'num_epochs(=|\\": )\d+', r"max_steps\g<1>4", notebook.read_text())
        )
    command = ["-W", "--keep-going", "-q", "-b", "html", "-d", folder / "doctrees", sources]
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", *command, folder / "html"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "TFDS_DATA_DIR": str(folder / "data"),
            "https_proxy": "http://127.0.0.1:9",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": os.environ["TESTS_COMPILED"],
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert result.returncode == 0, result.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    found = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    sources = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    for source in sources:
        assert (site / source.relative_to(DOCS)).with_suffix(".html") in found
    return found


@pytest.mark.slow
def test_the_site_is_whole(site, pages):
    check_local_links_and_images(pages)
    check_that_nothing_is_fetched_from_elsewhere(site, pages)
    places = set().union(*(page.places for page in pages.values()))
    assert {f"vqvae_jax.{name}" for name in vqvae_jax.__all__} <= places


def check_local_links_and_images(pages):
    for file, page in pages.items():
        for address in page.fetched + page.linked:
            if is_remote(address) or address.startswith(("mailto:", "data:")):
                continue
            path, place = urldefrag(unquote(address))
            target = (file.parent / path.partition("?")[0]).resolve() if path else file
            assert target.is_file(), f"{file.name}: {address}"
            if target in pages:
                assert place in pages[target].places, f"{file.name}: {address}"


def check_that_nothing_is_fetched_from_elsewhere(site, pages):
    for file, page in pages.items():
        assert not [address for address in page.fetched if is_remote(address)], file.name
    for file in site.rglob("*.css"):
        fetched = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", file.read_text())
        assert not [address for address in fetched if is_remote(address)], file.name


def test_line_counts_are_about_right():
    """The page for contributors says how many lines the smallest examples have."""
    text = (DOCS / "contributing.md").read_text()
    rows = re.findall(r"^\| .* \| `(\S+)` \| (\d+) \|", text, re.M)
    assert len(rows) > 5
    for name, stated in rows:
        module, _, attribute = name.partition(".")
        if module == "vqvae_jax":
            lines = len(getsourcelines(getattr(vqvae_jax, attribute))[0])
        else:
            lines = len((ROOT / name).read_text().splitlines())
        assert abs(lines - int(stated)) <= max(2, lines // 10), f"{name} has {lines} lines"


def test_notebooks_are_kept_without_outputs():
    notebooks = sorted(DOCS.rglob("*.ipynb"))
    assert notebooks
    for file in notebooks:
        text = file.read_text()
        assert '"outputs": []' in text, file.name
        assert not re.search(r'"(output_type|execution_count": \d)', text), file.name
