"""Training from Python: a task, or a model with its default task, on arrays."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqvae_jax.errors import ConfigError
from vqvae_jax.files import check_folder, remove_drafts
from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import all_devices, first_process_first, is_first_process, mesh_for
from vqvae_jax.tasks import Task, TokenizerTask
from vqvae_jax.tasks.base import Examples
from vqvae_jax.training.checkpoint import (
    Checkpoint,
    best_checkpoint,
    latest_checkpoint,
    set_damaged_aside,
)
from vqvae_jax.training.config import training_config
from vqvae_jax.training.interruption import caught
from vqvae_jax.training.lock import locked
from vqvae_jax.training.loop import Run
from vqvae_jax.training.model import load_model
from vqvae_jax.training.optimizer import optimization
from vqvae_jax.training.resuming import changed_in, is_from_python, optimizer_changes
from vqvae_jax.training.settings import TrainingConfig
from vqvae_jax.weights import tree_digest
from vqvae_jax.words import counted


def train(
    task_or_model: Task | Tokenizer,
    source: Examples,
    held_out: Examples,
    *,
    workdir: str | Path,
    training: Mapping[str, Any] | None = None,
) -> Any:
    """Trains a task or a tokenizer on arrays, or resumes the run that `workdir` holds.

    Writes metrics.jsonl, tensorboard/, run.json, checkpoints/ and figures there, as `train.py`
    does. A run that was stopped and resumed ends with the same weights and metrics.

        model = vqvae_jax.VQVAE(3, 16, 512, data_variance, rngs=nnx.Rngs(0))
        model = vqvae_jax.train(
            model, images, test_images, workdir="runs/mine", training={"num_epochs": 10}
        )

    On CPUs it is fastest with one JAX device for each core, as `train.py` sees to: set
    JAX_NUM_CPU_DEVICES before JAX is imported.

    Args:
        task_or_model: a `Tokenizer` with its initial values, which stays as it is, or a `Task`,
            which brings its own optimizers.
        source: a pytree of NumPy arrays with the examples on the first axis of each. For a
            tokenizer, data [N, *spatial, C]: pixels uint8, which it sees as x / 255 - 0.5, or
            floats on its own scale.
        held_out: the examples of evaluations, likewise.
        workdir: the run's folder; created if missing.
        training: settings of the section `training` of `train.py --help`, by name. Those of the
            optimizer apply only to a tokenizer, whose precision is the dtype it was made with.

    Returns:
        The tokenizer as it was at its best evaluation; for a task, its state then.

    Raises:
        ConfigError: a setting is unknown or out of its range; or the folder holds a run on other
            data or with other settings.
        CheckpointError: the folder's content cannot be read, or belongs to another model.
        TrainingError: something became NaN or infinite.
        BusyError: another process trains there.
        OSError: the folder cannot be written.
        KeyboardInterrupt: Ctrl-C; the current step is saved. Likewise SystemExit after SIGTERM.
    """
    folder = Path(workdir)
    check_folder("workdir", folder)
    settings = training_config(training or {})
    count = len(jax.tree.leaves(source)[0])
    task = task_or_model
    if isinstance(task_or_model, Tokenizer):
        _check_data(task_or_model, settings, source=source, held_out=held_out)
        task = TokenizerTask(task_or_model, **optimization(settings, count))
    assert isinstance(task, Task)
    description = {
        "config": {"training": dataclasses.asdict(settings)},
        "data": {"digest": tree_digest(source), "examples": count},
    }

    def check(saved: dict[str, Any]) -> None:
        _check_resumes(folder, saved, description)

    with caught():
        run_task(
            task,
            source,
            held_out,
            settings,
            devices_for(settings, source, held_out),
            folder,
            description=description,
            about=counted(count, "example"),
            check_resumes=check,
        )
    if isinstance(task_or_model, Tokenizer):
        return load_model(folder, like=task_or_model)
    best = best_checkpoint(folder)
    assert best is not None
    batch = jax.tree.map(lambda leaf: leaf[: settings.batch_size], source)
    like = {"state": jax.eval_shape(task.init, jax.random.key(settings.seed), batch)}
    return best.restore(like=like)["state"]


def run_task(
    task: Task,
    examples: Examples,
    held_out: Examples,
    settings: TrainingConfig,
    devices: list[jax.Device],
    workdir: Path,
    *,
    description: dict[str, Any],
    about: str,
    check_resumes: Callable[[dict[str, Any]], None],
) -> None:
    """Runs a task in a folder, from its latest checkpoint if there is one.

    Args:
        task: as for `Run`, like the arguments that follow.
        examples: the training examples.
        held_out: the examples of evaluations.
        settings: the protocol.
        devices: from `devices_for`.
        workdir: the run's folder; created if missing.
        description: JSON values, with "config" and "data".
        about: the same in a few words.
        check_resumes: raises a ConfigError if a checkpoint's run, given its description, is another
            one.

    Raises:
        ConfigError, CheckpointError, BusyError, TrainingError, OSError: as `train`.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with locked(workdir) if is_first_process() else contextlib.nullcontext():
        checkpoint, changes = first_process_first(lambda: _opened(workdir)), {}
        if checkpoint is not None:
            check_resumes(checkpoint.run)
            before = checkpoint.run["config"]["training"]
            changes = optimizer_changes(before, dataclasses.asdict(settings))
        Run(
            task,
            examples,
            held_out,
            settings,
            devices,
            workdir,
            description=description,
            about=about,
            checkpoint=checkpoint,
            changes=changes,
        ).train()


def devices_for(
    settings: TrainingConfig, examples: Examples, held_out: Examples
) -> list[jax.Device]:
    """Returns the devices of a run.

    Raises:
        ConfigError: there are too few; or a batch is larger than the data, or cannot be divided
            among the processes.
    """
    devices = all_devices(settings.devices)
    size = settings.batch_size
    counts = [len(jax.tree.leaves(some)[0]) for some in (examples, held_out)]
    if counts[1] == 0:
        raise ConfigError("there are no held-out examples; there must be at least 1")
    if size > counts[0]:
        raise ConfigError(
            f"training.batch_size is {size}; it must be at most {counts[0]}, the number of "
            "training examples"
        )
    for batch in (size, *(count % size for count in counts)):
        mesh_for(devices, batch or size)
    return devices


def _opened(workdir: Path) -> Checkpoint | None:
    """Returns the checkpoint to resume from, and clears the traces of a killed run."""
    checkpoint = latest_checkpoint(workdir)
    if is_first_process():
        for folder in (workdir, workdir / "checkpoints"):
            remove_drafts(folder)
        set_damaged_aside(workdir)
    return checkpoint


def _check_resumes(workdir: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    if not is_from_python(saved):
        raise ConfigError(f"{workdir} holds a run of train.py; use another workdir")
    changed = changed_in(saved["config"], given["config"])
    if changed is None and saved["data"] != given["data"]:
        changed = "its examples were different"
    if changed is not None:
        raise ConfigError(
            f"{workdir} holds a run with other settings: {changed}; use another workdir"
        )


def _check_data(model: Tokenizer, settings: TrainingConfig, **arrays: Any) -> None:
    """Refuses arrays that the tokenizer cannot take, and a precision that is not its own."""
    rank, channels = model.spatial_rank, model.likelihood.out_dim
    types = []
    for name, array in arrays.items():
        if not hasattr(array, "dtype") or not hasattr(array, "shape"):
            raise ConfigError(f"{name} is a {type(array).__name__}; a tokenizer takes one array")
        types.append(np.dtype(array.dtype))
        if types[-1] != np.uint8 and not np.issubdtype(types[-1], np.floating):
            raise ConfigError(
                f"{name} has type {types[-1]}; it must be uint8, for pixels that the model sees as "
                "x / 255 - 0.5, or floating"
            )
        if array.ndim != rank + 2 or array.shape[-1] != channels:
            raise ConfigError(
                f"{name} has shape {array.shape}; it must have the examples, {rank} spatial axes, "
                f"and {channels} channels last"
            )
    if types[0] != types[1]:
        raise ConfigError(f"held_out has type {types[1]}; it must be {types[0]}, like source")
    if settings.dtype is not None and settings.dtype != model.dtype:
        raise ConfigError(
            f"training.precision is {settings.precision}, but the tokenizer's dtype is "
            f"{model.dtype}; it computes in that, so make it with dtype={settings.precision!r}"
        )
