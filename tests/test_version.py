"""The version that a user reads is that of the project."""

import tomllib
from importlib import metadata
from pathlib import Path

import vqvae_jax


def test_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert vqvae_jax.__version__ == project["project"]["version"]


def test_a_checkout_that_is_not_installed_has_none(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.delitem(vars(vqvae_jax), "__version__", raising=False)
    assert vqvae_jax.__version__ == "unknown"
    del vars(vqvae_jax)["__version__"]
