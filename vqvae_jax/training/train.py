"""From a config to a run: data, model and task, and with a prior the VQ-VAE that it is for."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.data import Dataset, load_dataset
from vqvae_jax.errors import ConfigError, DataError
from vqvae_jax.models import VQVAE
from vqvae_jax.parallel import local_devices
from vqvae_jax.training.checkpoint import Checkpoints
from vqvae_jax.training.codes import Codes, load_codes
from vqvae_jax.training.config import Config
from vqvae_jax.training.loop import Run
from vqvae_jax.training.model import describe, load_run, prior_for, vqvae_for
from vqvae_jax.training.networks import CodeMaps
from vqvae_jax.training.tasks import Task
from vqvae_jax.training.tasks.prior import PriorTask
from vqvae_jax.training.tasks.vqvae import VQVAETask
from vqvae_jax.weights import weights_digest


def train(config: Config, workdir: Path) -> None:
    """Trains what the config describes, or goes on with the run that `workdir` holds.

    Writes metrics.jsonl, tensorboard/, pictures, run.json and checkpoints/ there. A run that was
    stopped and started again ends with the same parameters, optimiser state and metrics as one that
    was not.

    A prior is for the codes of a VQ-VAE: where `config.prior.vqvae` holds no finished run of one,
    that is trained first.

    Args:
        config: the run's settings.
        workdir: its folder; made if missing.

    Raises:
        ConfigError: batch, images and model do not fit, or `workdir` holds a run with other
            settings.
        DataError: the data cannot be had.
        CheckpointError: what `workdir` holds cannot be read.
        TrainingError: the loss became NaN or infinite.
        OSError: `workdir` cannot be written.
    """
    devices = local_devices(config.training.devices)
    data = load_dataset(**dataclasses.asdict(config.data))
    if config.training.batch_size > len(data.train_images):
        raise ConfigError(
            f"training.batch_size is {config.training.batch_size}; it must be at most "
            f"{len(data.train_images)}, the number of training images of {data.name}"
        )
    if config.prior is None:
        task: Task = VQVAETask(vqvae_for(config, data), data, describe(config, data))
    else:
        task = _prior_task(config, data, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    with Checkpoints(workdir) as checkpoints:
        Run(task, config.training, devices, workdir, checkpoints).train()


def _prior_task(config: Config, data: Dataset, workdir: Path) -> PriorTask:
    assert config.prior is not None
    label_dropout = config.prior.label_dropout
    folder = Path(config.prior.vqvae).expanduser()
    if folder.resolve() == workdir.resolve():
        raise ConfigError(f"prior.vqvae is {folder}, the run's own folder; it must be another")
    config = _with_vqvae_of(config, folder)
    vqvae_config = Config(
        data=config.data, model=config.model, training=config.vqvae_training or config.training
    )
    train(vqvae_config, folder)
    vqvae: VQVAE = load_run(folder).model
    codes = load_codes(vqvae, data, folder / "codes.npz")
    maps = _maps_of(codes, vqvae)
    prior = prior_for(config, maps)
    description: dict[str, Any] = describe(config, data) | {
        "codes": {
            "source": str(folder),
            "digest": codes.digest,
            "weights": weights_digest(vqvae),
            "maps": dataclasses.asdict(maps),
        }
    }
    return PriorTask(prior, vqvae, codes, label_dropout, description)


def _with_vqvae_of(config: Config, folder: Path) -> Config:
    """The config, with model and protocol of the run that a folder holds, if it holds one."""
    if not (folder / "checkpoints").is_dir():
        return config
    with Checkpoints(folder, read_only=True) as checkpoints:
        if checkpoints.latest is None:
            return config
        found = Config.from_dict(checkpoints.run(checkpoints.latest)["config"])
    if found.prior is not None:
        raise ConfigError(f"prior.vqvae is {folder}, the run of a prior; it must be a VQ-VAE's")
    assert config.prior is not None
    found = dataclasses.replace(found, data=config.data)
    return Config.of_prior(found, config.prior, config.training)


def _maps_of(codes: Codes, vqvae: VQVAE) -> CodeMaps:
    num_classes = int(codes.train_labels.max()) + 1
    if np.any(codes.test_labels >= num_classes):
        raise DataError(
            f"the test split has the label {codes.test_labels.max()}; "
            f"it must be below {num_classes}, like the training split's"
        )
    height, width = codes.train_codes.shape[1:3]
    quantizer = vqvae.quantizer
    return CodeMaps((height, width), quantizer.num_embeddings, quantizer.num_codebooks, num_classes)
