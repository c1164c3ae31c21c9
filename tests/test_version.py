"""The version that a user reads is that of the project."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import vqvae_jax


def test_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert vqvae_jax.__version__ == project["project"]["version"]


def test_the_changelog_and_the_citation_have_it():
    root, version = Path(__file__).parents[1], re.escape(vqvae_jax.__version__)
    (date,) = re.findall(rf"^## \[{version}\] - (.*)$", (root / "CHANGELOG.md").read_text(), re.M)
    cited = (root / "CITATION.cff").read_text()
    assert re.search(rf"^version: {version}\ndate-released: {date}$", cited, re.M)


def test_a_checkout_that_is_not_installed_has_none(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.delitem(vars(vqvae_jax), "__version__", raising=False)
    assert vqvae_jax.__version__ == "unknown"
    del vars(vqvae_jax)["__version__"]
