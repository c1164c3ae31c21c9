"""The version that a user reads is that of the project."""

import importlib
import tomllib
from importlib import metadata
from pathlib import Path

import vqvae_jax


def test_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert vqvae_jax.__version__ == project["project"]["version"]


def test_a_checkout_that_is_not_installed_can_be_imported(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    with monkeypatch.context() as patched:
        patched.setattr(metadata, "version", version)
        assert importlib.reload(vqvae_jax).__version__ == "unknown"
    importlib.reload(vqvae_jax)
