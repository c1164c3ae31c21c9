"""Every block of code in the README and the docs: run as it stands, or with less to do."""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.conftest import some_by_default, write_small_set
from tests.data.pictures import write
from tests.data.recordings import write_tones
from vqvae_jax.__main__ import _parser
from vqvae_jax.training import flags

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]

# What is not run, by what its commands begin with; all that is train.py's, a benchmark's or the
# package's is parsed all the same.
NOT_RUN = {
    "python3 -m venv": ".ci/run takes the two of the README as they stand; PyTorch is 1 GB",
    ".venv": "of such an environment; what needs PyTorch is compared by hand",
    "pip install": "an environment of its own, made by .ci/run",
    "pre-commit": "changes the repository",
    "ruff": ".ci/run",
    "mypy": ".ci/run",
    "python -m pytest": ".ci/run",
    "python benchmarks/speech.py": "needs programs and packages of other codecs",
    "python benchmarks/quantizers.py": "twenty-seven runs of ten epochs",
    "python benchmarks/lossless.py --workdir runs/tiles_prior": "results.md runs it, in gray",
    "python train.py --config configs/mnist.py --workdir /shared/run": "takes two machines",
}

# What makes the others short: patterns in a block, and what takes their place.
SHORTER = [
    (r"(train\.py --config configs/\S*)", r"\1 --config.training.max_steps=2"),
    (r"(train\.py --config configs/\S*prior\S*)", r"\1 --config.vqvae_training.max_steps=2"),
    (
        r"(--config\.data\.archives=FOLDER)",
        r"\1 --config.data.name=my_digits --workdir runs/digits",
    ),
    (
        r"(--config configs/cifar10_likelihood\S*)",
        r"\1 --config.model.encoder.width=8 --config.model.decoder.width=8"
        " --config.model.likelihood.hidden_dim=4 --config.model.likelihood.num_layers=1",
    ),
    (
        r"(--config configs/images\S*)",
        r"\1 --config.model.encoder.width=8 --config.model.decoder.width=8"
        " --config.training.batch_size=8",
    ),
    (
        r"(--config configs/speech_digits\S*)",
        r"\1 --config.model.encoder.width=4 --config.model.decoder.width=4"
        " --config.training.batch_size=8",
    ),
    (r"(benchmarks/samples\.py)", r"\1 --number 10 --epochs 1"),
    (r"(benchmarks/sampling\.py)", r"\1 --number 2"),
    (r"(benchmarks/lossless\.py)", r"\1 --number 4"),
    (r"--rounds 5", "--rounds 1"),
    (r"runs/study/\{run\}", "runs/mnist"),
    (r"1_000_000, 65_536", "1_000, 64"),
]

# What a page has said in words before its code.
GIVEN = {
    "docs/quantizers.md": """
import jax
from flax import nnx
from vqvae_jax import VectorQuantizer
quantizer, mask, key = VectorQuantizer(8, 16, rngs=nnx.Rngs(0)), None, jax.random.key(0)
z = jax.random.normal(key, (4, 8))
""",
    # Small stand-ins for the files, whose content says that they are safetensors.
    "docs/released.md": """
import json
from pathlib import Path
import numpy as np
from flax import nnx
from safetensors.numpy import save_file
from vqvae_jax.pretrained import FAMILIES
from vqvae_jax.pretrained.family import entries

def state_of(family, config):
    build = FAMILIES[family].build
    named = entries(nnx.eval_shape(lambda: build(config, nnx.Rngs(0))), FAMILIES[family])
    return {name: np.zeros(entry.shape, np.float32) for name, entry in named.items()}

diffusers = {"block_out_channels": [8], "norm_num_groups": 2}
janus = {"base_channels": 4, "channel_multiplier": [1], "latent_channels": 4, "num_res_blocks": 1}
files = {
    "encoder.pkl": {"blocks.input.w": np.zeros(1, np.float32)},
    "decoder.pkl": {"blocks.input.w": np.zeros(1, np.float32)},
    "vqvae/diffusion_pytorch_model.safetensors": state_of("diffusers_vqmodel", diffusers),
    "Janus-Pro-1B/shard": {
        f"model.vqmodel.{name}": array for name, array in state_of("janus_vqvae", janus).items()
    },
}
places = {name: "shard" for name in files["Janus-Pro-1B/shard"]}
texts = {
    "vqvae/config.json": diffusers,
    "Janus-Pro-1B/config.json": {"vq_config": janus},
    "Janus-Pro-1B/model.safetensors.index.json": {
        "weight_map": {**places, "model.norm.weight": "missing"}
    },
}
for name in files | texts:
    Path(name).parent.mkdir(exist_ok=True)
for name, arrays in files.items():
    save_file(arrays, name)
for name, content in texts.items():
    Path(name).write_text(json.dumps(content))
""",
}


def blocks(page, language=None):
    """The code of a page: pairs of its language and its text."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    return [(kind, text) for kind, text in found if language in (None, kind)]


def shorter(text):
    for pattern, replacement in SHORTER:
        text = re.sub(pattern, replacement, text)
    return text


def commands(page):
    """The commands of a page's shell blocks, each in one line."""
    for _, text in blocks(page, "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            yield from line.partition(" #")[0].strip().split(" && ")


def is_run(command):
    return not command.startswith(tuple(NOT_RUN))


class ParsedError(Exception):
    """The arguments were right."""


@pytest.fixture
def parse(monkeypatch):
    """Looks at the arguments of one of our programs, and does no more."""

    def stop(parser, given=None, namespace=None):
        _, unknown = parse_known(parser, given, namespace)
        assert not unknown
        raise ParsedError

    def parse(program, arguments):
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        if program == "train.py":
            flags.parse(arguments)
        elif program == "vqvae_jax":
            _parser().parse_args(arguments)
        else:
            monkeypatch.syspath_prepend(ROOT / "benchmarks")
            with monkeypatch.context() as patched:
                patched.setattr(argparse.ArgumentParser, "parse_known_args", stop)
                with pytest.raises(ParsedError):
                    runpy.run_path(str(ROOT / program), run_name="__main__")

    parse_known = argparse.ArgumentParser.parse_known_args
    monkeypatch.chdir(ROOT)
    return parse


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_has_a_reason(page):
    for language, text in blocks(page):
        assert language in ("python", "sh"), text
    for command in commands(page):
        known = command.startswith(("python train.py ", "python -m vqvae_jax ", "python benchmark"))
        assert known or not is_run(command), command


def test_every_reason_is_needed():
    given = [command for page in PAGES for command in commands(page)]
    for prefix in NOT_RUN:
        assert any(command.startswith(prefix) for command in given), prefix
    text = "".join(text for page in PAGES for _, text in blocks(page))
    for pattern, _ in SHORTER:
        assert re.search(pattern, text), pattern


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")  # ml_collections'
@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_arguments_that_its_program_knows(page, parse):
    for command in commands(page):
        program, *arguments = shlex.split(command)
        if not program.endswith("python"):
            continue
        if arguments[:3] == ["-m", "vqvae_jax", "train"]:
            parse("train.py", arguments[3:])
        elif arguments[:2] == ["-m", "vqvae_jax"]:
            parse("vqvae_jax", arguments[2:])
        elif arguments[0].endswith(".py"):
            parse(arguments[0], arguments[1:])


@pytest.mark.parametrize(
    "page", some_by_default([page for page in PAGES if blocks(page, "python")], ["README.md"])
)
def test_python_that_needs_no_run_runs(page, monkeypatch, tmp_path):
    """With shapes checked, and without a warning: in `test_a_page_runs` it is as users have it."""
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    exec(GIVEN.get(page, ""), namespace)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for _, text in blocks(page, "python"):
            code = compile(shorter(text), page, "exec")
            if "runs/" not in text:
                exec(code, namespace)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that looks like the repository's, with data, and the README's runs/mnist in it."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("train.py", "configs", "benchmarks"):
        (folder / name).symlink_to(ROOT / name)
    write_small_set(folder / "FOLDER", size=28, train=200)
    write(folder / "PHOTOS", {f"photo{index}": (70, 90) for index in range(40)})
    write(folder / "PHOTOS", {"some": (70, 90)}, ".jpg")
    write(folder / "OTHER_FOLDER", {"1": (70, 90), "2": (64, 64)})
    spoken = {f"{digit}_ann_{take}": 4000 for digit in range(3) for take in range(20)}
    write_tones(folder / "RECORDINGS", spoken, rate=8000)
    write_tones(folder / "VOICES", {"1": 3000, "2": 5000})
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    run(folder, next(c for c in commands("docs/training.md") if "--workdir runs/mnist " in c))
    return folder


def run(folder, script):
    """Runs a shell's script, without network: MNIST is the sample then."""
    result = subprocess.run(
        ["bash", "-ec", shorter(script)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        env={
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TFDS_DATA_DIR": str(folder / "data"),
            "https_proxy": "http://127.0.0.1:9",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": os.environ["TESTS_COMPILED"],
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
    )
    assert result.returncode == 0, f"{script}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs(page, place):
    """Its commands, and then its Python in one process."""
    for command in filter(is_run, commands(page)):
        run(place, command)
    code = [shorter(text) for _, text in blocks(page, "python")]
    (place / "page.py").write_text("\n".join([GIVEN.get(page, ""), *code]))
    run(place, "python page.py")
