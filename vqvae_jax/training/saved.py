"""Loads models from the folders of runs, and from those that `save_pretrained` wrote."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from flax import nnx

from vqvae_jax.data import Dataset
from vqvae_jax.errors import CheckpointError, ConfigError, DataError
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.folder import TOKENIZER, is_saved_model, read_folder
from vqvae_jax.priors import Prior
from vqvae_jax.tasks.learning import split_model
from vqvae_jax.training.building import Model, build_described
from vqvae_jax.training.checkpoint import Checkpoint, best_checkpoint, described_run
from vqvae_jax.training.config import Config
from vqvae_jax.training.log import read_records
from vqvae_jax.training.resuming import is_from_python, other_vqvae
from vqvae_jax.weights import weights_digest

_OF_DATA = ("name", "digest", "variance", "train_images", "test_images", "image_shape")
_NO_METRICS = ("step", "epoch", "split", "images", "images_per_second")


@dataclasses.dataclass(frozen=True)
class SavedRun:
    """A run as loaded from its folder, or what an exported model keeps of it.

    Attributes:
        workdir: the folder.
        step: the step of the checkpoint; None for an exported model.
        config: its settings; likewise.
        description: as in run.json; for an exported model as `exported_run` returns it, or empty.
        model: its `Tokenizer` or `Prior`, as it was at the evaluation with the lowest held-out
            metric: nmse, bits_per_dim or nll.
    """

    workdir: Path
    step: int | None
    config: Config | None
    description: dict[str, Any]
    model: Any


def load_model(workdir: str | Path, like: Model | None = None) -> Any:
    """Loads the model of a run, as it was at the evaluation with the lowest held-out metric.

    Args:
        workdir: the run's folder, or that of an exported model.
        like: a model built the same way, for a run of `vqvae_jax.train`, which does not record how
            to build it; it is not changed. None: the VQ-VAE of a run of `train.py`.

    Raises:
        CheckpointError: it is not the run of such a model; there is no evaluated checkpoint, or it
            does not fit its own description.
    """
    if like is None:
        return load_run(workdir, Tokenizer).model
    return _with_weights(nnx.clone(like), _best(Path(workdir)))


def load_prior(workdir: str | Path) -> Prior:
    """Loads the prior of a run, as `load_model` loads a VQ-VAE.

    Args:
        workdir: the run's folder.

    Raises:
        CheckpointError: as there.
    """
    return load_run(workdir, Prior).model


def load_pair(workdir: str | Path, vqvae: str | Path | None = None) -> tuple[SavedRun, SavedRun]:
    """Loads the run of a prior, and that of the VQ-VAE whose codes it was trained on.

    Args:
        workdir: the folder of the prior's run.
        vqvae: the folder of the VQ-VAE's run; None: where it was when the prior was trained.

    Raises:
        CheckpointError: as `load_prior` and `load_model`; or the VQ-VAE is not the one that the
            prior was trained with.
    """
    prior = load_run(workdir, Prior)
    of_codes = prior.description.get("codes")
    described = of_codes if isinstance(of_codes, dict) else {}
    within = prior.workdir / TOKENIZER
    folder = Path(vqvae or (within if prior.config is None else described["source"]))
    if prior.config is None and not folder.exists():
        raise CheckpointError(
            f"{folder} does not exist; --vqvae names the folder of the tokenizer of {workdir}"
        )
    codes = load_run(folder, Tokenizer)
    if "weights" in described and weights_digest(codes.model) != described["weights"]:
        raise CheckpointError(other_vqvae(folder, workdir))
    return prior, codes


def load_run(workdir: str | Path, kind: type[nnx.Module]) -> SavedRun:
    """Loads a run's settings and its best model, or an exported model.

    Args:
        workdir: its folder.
        kind: the class of its model: `Tokenizer` or `Prior`.

    Raises:
        CheckpointError: it is a run of the other kind; there is no evaluated checkpoint, or it does
            not fit its own description.
    """
    folder = Path(workdir)
    if is_saved_model(folder):
        model, saved = read_folder(folder)
        if not isinstance(model, kind):
            raise CheckpointError(
                f"{folder} holds a {type(model).__name__}, not a {kind.__name__.lower()}"
            )
        return SavedRun(folder, None, None, saved.get("run", {}), model)
    checkpoint = _best(folder)
    with _as_described(str(checkpoint.path)):
        config = _config(folder, checkpoint.run)
        model = build_described(config, checkpoint.run)
    if not isinstance(model, kind):
        wanted = "VQ-VAE" if kind is Tokenizer else "prior"
        raise CheckpointError(f"{folder} holds the run of a {config.kind}, not of a {wanted}")
    model = _with_weights(model, checkpoint)
    return SavedRun(folder, checkpoint.step, config, checkpoint.run, model)


def exported_run(run: SavedRun) -> dict[str, Any]:
    """Returns what an exported model keeps of its run: nothing that names a place of this machine.

    It has the sections of the run's description, and `step` and `metrics`, those of the held-out
    examples.
    """
    kept: dict[str, Any] = {
        "config": {"training": run.description["config"]["training"]},
        "data": {name: run.description["data"][name] for name in _OF_DATA},
    }
    if "prior" in run.description["config"]:
        prior = {**run.description["config"]["prior"]}
        del prior["vqvae"]
        kept["config"]["prior"] = prior
        kept["codes"] = {name: run.description["codes"][name] for name in ("weights", "maps")}
    records = read_records(run.workdir, cast(int, run.step))
    metrics: dict[str, float] = {}
    for record in records:
        if record["split"] == "test" and record["step"] == run.step:
            metrics = {name: value for name, value in record.items() if name not in _NO_METRICS}
    return {**kept, "step": run.step, "metrics": metrics}


def load_description(workdir: str | Path) -> tuple[Config, dict[str, Any]]:
    """Loads a run's settings, and its description as in run.json, without its model.

    Args:
        workdir: the run's folder.

    Raises:
        CheckpointError: it holds no run that says how to build its model.
    """
    if is_saved_model(Path(workdir)):
        raise without_run(workdir)
    description = described_run(Path(workdir))
    if description is None:
        raise CheckpointError(f"{workdir} holds no run")
    with _as_described(str(workdir)):
        return _config(workdir, description), description


def without_run(folder: str | Path) -> CheckpointError:
    """Returns the error for an exported model where a run is needed."""
    return CheckpointError(
        f"{folder} holds an exported model, without the data and the log of its run; this command "
        "needs the folder of the run itself"
    )


def _config(workdir: str | Path, description: Mapping[str, Any]) -> Config:
    if is_from_python(description):
        raise CheckpointError(
            f"{workdir} holds a run of vqvae_jax.train, which does not say how to build the "
            "model; load_model takes one that is built alike as like"
        )
    return Config.from_dict(description["config"])


@contextlib.contextmanager
def _as_described(where: str) -> Iterator[None]:
    """Makes what a run's description lacks an error of one line."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{where} cannot be used: {error}") from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"{where} does not describe a run: {error!r}") from error


def _best(folder: Path) -> Checkpoint:
    if not (folder / "checkpoints").is_dir():
        raise CheckpointError(f"{folder} holds no run")
    checkpoint = best_checkpoint(folder)
    if checkpoint is None:
        raise CheckpointError(f"{folder} holds no checkpoint with an evaluation yet")
    return checkpoint


def _with_weights(model: Model, checkpoint: Checkpoint) -> Model:
    """Returns the model with a checkpoint's weights: parameters, or their moving averages."""
    _, params, variables = split_model(model)
    trained: dict[str, Any] = {"params": params}
    if checkpoint.run["config"]["training"]["average_decay"] > 0:
        trained = {"average": trained}
    saved = checkpoint.restore(like={"state": {**trained, "variables": variables}})["state"]
    nnx.update(model, saved.get("average", saved)["params"], saved["variables"])
    return model


def load_data(run: SavedRun, **moved: str | None) -> Dataset:
    """Loads the data that a run was trained on.

    Args:
        run: from `load_run` or `load_pair`.
        moved: settings of the run's data, such as archives, path or data_dir, that have changed;
            None: they have not.

    Raises:
        DataError: they cannot be found any more, or the arguments name other data.
        OSError: data_dir cannot be written.
    """
    assert run.config is not None
    given = {name: value for name, value in moved.items() if value is not None}
    for name in given:
        if not hasattr(run.config.data, name):
            kind = run.config.data_kind
            raise DataError(
                f"{name} is given; {run.workdir} has data of kind {kind}, without {name}"
            )
    now: Any = dataclasses.replace(cast(Any, run.config.data), **given)
    data: Dataset = now.recall(run.description)
    if data.digest != run.description["data"]["digest"]:
        raise DataError(
            f"{data.name} came from {run.description['data']['source']} when the run was trained; "
            f"the data from {data.source} is different"
        )
    return data
