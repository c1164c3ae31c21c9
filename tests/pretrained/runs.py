"""Runs without training: the folder of a VQ-VAE's, and that of a prior's over its codes."""

import dataclasses
import json

import jax
import numpy as np
from flax import nnx

from vqvae_jax.tasks.learning import split_model
from vqvae_jax.training.building import build_described
from vqvae_jax.training.checkpoint import save_checkpoint
from vqvae_jax.training.codes import CodeMaps
from vqvae_jax.training.config import Config
from vqvae_jax.weights import weights_digest

STEP, NMSE = 7, 0.125
DATA = {
    "name": "mnist",
    "source": "archives in SECRET",
    "digest": "abc",
    "archives": "SECRET",
    "data_dir": "SECRET",
    "variance": 0.08,
    "train_images": 20,
    "test_images": 10,
    "image_shape": [8, 8, 1],
}
TRAINING = {"batch_size": 4, "learning_rate": 1e-3, "num_epochs": 1, "seed": 0}
MODEL = {
    "encoder": {"kind": "Encoder"},
    "quantizer": {"kind": "EMAVectorQuantizer", "embedding_dim": 3, "num_embeddings": 6},
    "decoder": {"kind": "Decoder"},
    "likelihood": {"kind": "CategoricalHead", "in_dim": 2},
}


def write_vqvae(folder):
    sections = {"data": {"name": "mnist", "archives": "SECRET"}, "model": MODEL}
    return _write(folder, sections | {"training": TRAINING}, {"data": DATA})


def write_prior(folder, vqvae, model, kind="GatedPixelCNN"):
    sections = {
        "data": {"name": "mnist"},
        "model": MODEL,
        "training": TRAINING,
        "vqvae_training": TRAINING,
        "prior": {"vqvae": str(vqvae), "kind": kind, "channels": 4, "dilations": (1,)},
    }
    codes = {
        "source": str(vqvae),
        "digest": "def",
        "weights": weights_digest(model),
        "maps": dataclasses.asdict(CodeMaps((2, 2), 6, None, 0)),
    }
    return _write(folder, sections, {"data": DATA, "codes": codes})


def _write(folder, sections, described):
    """Writes a run's folder, and returns its model, with weights that are far from each other."""
    config = Config.from_dict(sections)
    description = {"config": config.to_dict()} | described
    graphdef, state = nnx.split(nnx.eval_shape(lambda: build_described(config, description)))
    random = np.random.RandomState(0)
    model = nnx.merge(
        graphdef, jax.tree.map(lambda x: jax.numpy.asarray(random.randn(*x.shape), x.dtype), state)
    )
    _, params, variables = split_model(model)
    folder.mkdir()
    trained = {"state": {"params": params, "variables": variables}}
    save_checkpoint(folder, STEP, trained, description, is_logged=True, monitor=NMSE)
    record = {"step": STEP, "epoch": 1, "split": "test", "images": 10, "nmse": NMSE}
    (folder / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    return model
