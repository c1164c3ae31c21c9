"""From a config, or from a run's folder, to a model."""

from pathlib import Path

from flax import nnx

from vqvae_jax.errors import CheckpointError
from vqvae_jax.models import VQVAE
from vqvae_jax.training.checkpoint import Checkpoints
from vqvae_jax.training.config import Config


def build_model(config: Config, in_dim: int, data_variance: float) -> VQVAE:
    """The model that `config` describes, with the initial values that its seed gives.

    Args:
        config: the run's settings.
        in_dim: channels of the images.
        data_variance: of the training pixels.
    """
    return VQVAE(
        in_dim,
        config.model.embedding_dim,
        config.model.num_embeddings,
        data_variance,
        config.model.commitment_cost,
        rngs=nnx.Rngs(config.training.seed),
    )


def load_model(workdir: str | Path) -> VQVAE:
    """The model of a run, as it was at the evaluation with the lowest held-out nmse.

    Args:
        workdir: the run's folder.

    Raises:
        CheckpointError: there is no evaluated checkpoint, or it does not fit its own description.
    """
    folder = Path(workdir)
    if not (folder / "checkpoints").is_dir():
        raise CheckpointError(f"{folder} holds no run")
    with Checkpoints(folder, read_only=True) as checkpoints:
        if checkpoints.best is None:
            raise CheckpointError(f"{folder} holds no checkpoint with an evaluation yet")
        run = checkpoints.run(checkpoints.best)
        channels, variance = run["data"]["image_shape"][-1], run["data"]["variance"]
        model = build_model(Config.from_dict(run["config"]), channels, variance)
        saved = checkpoints.restore(checkpoints.best, like={"params": nnx.state(model)})
    nnx.update(model, saved["params"])
    return model
