"""Models on a Hub: one on this machine, and its cache without any."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from flax import nnx

from tests.pretrained.hub_server import COMMIT, hub
from tests.test_extras import ROOT, line_of, without
from vqvae_jax import VectorQuantizer, from_pretrained, save_pretrained
from vqvae_jax.weights import weights_digest

PREPARED = """
import json, sys
from flax import nnx
from vqvae_jax import VectorQuantizer, from_pretrained, push_to_hub
from vqvae_jax.errors import CheckpointError
from vqvae_jax.weights import weights_digest

def said(name, **given):
    try:
        return weights_digest(from_pretrained(name, **given))
    except CheckpointError as error:
        return str(error)

"""


def run(code, cache, **environment):
    """What a process prints as JSON that knows only this Hub and this cache."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREPARED + textwrap.dedent(code)],
        cwd=cache,
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HOME": str(cache),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_TOKEN": "none",
            "JAX_PLATFORMS": "cpu",
            **environment,
        },
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_model_goes_up_and_comes_down(tmp_path):
    """And nothing but its two files is downloaded, once."""
    files: dict = {}
    with hub(files) as (address, asked):
        found = run(
            """
            model = VectorQuantizer(2, 3, rngs=nnx.Rngs(4))
            url = push_to_hub(model, "some/model", private=True, commit_message="first")
            names = ["some/model", "some/model", "some/other"]
            print(json.dumps([weights_digest(model), url, *map(said, names),
                              said("some/model", revision="v9")]))
            """,
            tmp_path,
            HF_ENDPOINT=address,
        )
    digest, url, first, again, other, revision = found
    assert COMMIT in url
    assert first == again == digest
    start = "some/other is no folder, and cannot be had from the Hugging Face Hub: "
    assert other.startswith(start)
    assert revision.startswith("some/model is no folder")
    assert "\n" not in other + revision
    assert {path for _, path in files} == {"config.json", "model.safetensors", "README.md"}
    assert b"library_name: vqvae_jax" in files["some/model", "README.md"]
    downloads = [line for line in asked if line.startswith("GET") and "resolve" in line]
    assert sorted(downloads) == [
        f"GET /some/model/resolve/{revision}/{name}"
        for revision, name in ((COMMIT, "model.safetensors"), ("main", "config.json"))
    ]


@pytest.mark.slow
def test_what_is_in_the_cache_needs_no_hub(tmp_path):
    model = VectorQuantizer(2, 3, rngs=nnx.Rngs(4))
    place = tmp_path / "hub" / "models--some--model"
    (place / "snapshots").mkdir(parents=True)
    save_pretrained(model, place / "snapshots" / COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    found = run(
        """
        print(json.dumps([said("some/model"), said("some/other")]))
        """,
        tmp_path,
        HF_HUB_OFFLINE="1",
        HF_ENDPOINT="http://127.0.0.1:9",
    )
    assert found[0] == weights_digest(model)
    assert "some/other is no folder, and cannot be had" in found[1]


def test_a_folder_comes_before_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    save_pretrained(VectorQuantizer(2, 3, rngs=nnx.Rngs(4)), "some/model")
    assert from_pretrained("some/model").num_embeddings == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "call", ['from_pretrained("some/model")', 'push_to_hub(nnx.List([]), "some/model")']
)
def test_without_the_extra_it_is_named(call):
    code = f"from flax import nnx; from vqvae_jax import from_pretrained, push_to_hub; {call}"
    result = without(["huggingface_hub"], code)
    assert result.stderr.splitlines()[-1].endswith(line_of("huggingface_hub", "hub"))
