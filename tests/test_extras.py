"""The core needs no extra; what needs one says so in a line."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from vqvae_jax.errors import MissingError
from vqvae_jax.extras import extra

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# Packages whose modules are not named as on PyPI.
MODULES = {"pillow": "PIL"}


def modules(name):
    """The modules that the packages of an extra bring."""
    requirements = PROJECT["optional-dependencies"][name]
    packages = [entry.partition(">=")[0].replace("-", "_") for entry in requirements]
    return [MODULES.get(package, package) for package in packages]


def without(hidden, code, *arguments, cwd=ROOT):
    """Runs Python in which some modules are missing."""
    hide = f"import sys; sys.modules.update(dict.fromkeys({hidden!r}))\n"
    return subprocess.run(
        [sys.executable, "-c", hide + code, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def line_of(package, name):
    return f'{package} is missing; pip install "vqvae_jax[{name}]" installs it'


def test_the_core_is_six_packages():
    packages = {entry.partition(">=")[0] for entry in PROJECT["dependencies"]}
    assert packages == {"flax", "jax", "jaxtyping", "numpy", "optax", "safetensors"}


@pytest.mark.slow
def test_the_core_runs_without_any_extra():
    extras = ("train", "audio", "codec", "hub", "lyra")
    hidden = [name for extra in extras for name in modules(extra)]
    result = without(hidden, (ROOT / "tests" / "core_alone.py").read_text())
    assert (result.stdout, result.stderr) == ("the core works alone\n", "")


def test_what_imports_it_is_told_the_extra():
    with pytest.raises(MissingError, match="is missing") as missing, extra("hub"):
        import nowhere_at_all.within  # type: ignore[import-not-found]  # noqa: F401
    assert str(missing.value) == line_of("nowhere_at_all", "hub")
    assert missing.value.name == "nowhere_at_all"
    assert isinstance(missing.value, ImportError)


NEEDS = {
    "vqvae_jax.commands": ("PIL", "train"),
    "vqvae_jax.data.tfds_store": ("tensorflow_datasets", "train"),
    "vqvae_jax.coding": ("constriction", "codec"),
    "vqvae_jax.data.audio_files": ("soundfile", "audio"),
    "vqvae_jax.pretrained.files.lyra_files": ("tflite", "lyra"),
}


@pytest.mark.parametrize("module", NEEDS)
def test_a_module_that_needs_a_missing_extra_names_it(module):
    package, name = NEEDS[module]
    result = without([package], f"import {module}")
    assert result.returncode == 1
    expected = f"vqvae_jax.errors.MissingError: {line_of(package, name)}"
    assert result.stderr.splitlines()[-1] == expected


MAIN = "from vqvae_jax.__main__ import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "name", "arguments"),
    [
        ("ml_collections", "train", ["train", "--config", "mnist"]),
        ("tensorflow_datasets", "train", ["train", "--config=mnist", "--config.data.data_dir=."]),
        ("PIL", "train", ["extract", "--workdir", "none"]),
        ("constriction", "codec", ["compress", "--workdir", "none", "a.gz", "a.vq"]),
    ],
)
def test_a_command_without_its_extra_says_one_line(tmp_path, package, name, arguments):
    result = without([package], MAIN, *arguments, cwd=tmp_path)
    assert result.stderr == f"vqvae_jax: {line_of(package, name)}\n"
    assert (result.returncode, result.stdout) == (1, "")
