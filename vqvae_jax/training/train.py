"""Training from Python: a task, or a model with its default task, on arrays or other sources."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vqvae_jax.checks import check_items
from vqvae_jax.data import DataSource, as_source, shapes_of
from vqvae_jax.errors import ConfigError, DataError, TrainingError
from vqvae_jax.files import check_folder, remove_drafts
from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import (
    all_devices,
    check_same,
    first_process_first,
    is_first_process,
    mesh_for,
    wait_for_all,
)
from vqvae_jax.tasks import Task, TokenizerTask
from vqvae_jax.training.checkpoint import (
    Checkpoint,
    best_checkpoint,
    latest_checkpoint,
    set_damaged_aside,
)
from vqvae_jax.training.config import training_config
from vqvae_jax.training.ending import ending
from vqvae_jax.training.interruption import caught
from vqvae_jax.training.lock import locked
from vqvae_jax.training.loop import Run
from vqvae_jax.training.optimizer import optimization
from vqvae_jax.training.resuming import changed_in, is_from_python, optimizer_changes
from vqvae_jax.training.saved import load_model
from vqvae_jax.training.settings import TrainingConfig
from vqvae_jax.training.tensorboard import TensorBoard
from vqvae_jax.training.writers import LogWriter
from vqvae_jax.words import counted


def train(
    task_or_model: Task | Tokenizer,
    source: DataSource | Mapping[str, np.ndarray] | np.ndarray,
    held_out: DataSource | Mapping[str, np.ndarray] | np.ndarray,
    *,
    workdir: str | Path,
    training: Mapping[str, Any] | None = None,
    log: Sequence[LogWriter] | None = None,
) -> Any:
    """Trains a task or a tokenizer, or resumes the run that `workdir` holds.

    Writes metrics.jsonl, histograms.jsonl, tensorboard/, run.json, checkpoints/ and figures there,
    and prints at the end how good the run became, as `train.py` does. A run that was stopped and
    resumed ends with the same weights and metrics.

        model = vqvae_jax.VQVAE(3, 16, 512, data_variance, rngs=nnx.Rngs(0))
        model = vqvae_jax.train(
            model, images, test_images, workdir="runs/mine", training={"num_epochs": 10}
        )

    On CPUs it is fastest with one JAX device for each core, as `train.py` sees to: set
    JAX_NUM_CPU_DEVICES before JAX is imported.

    Args:
        task_or_model: a `Tokenizer` with its initial values, which stays as it is, or a `Task`,
            which brings its own optimizers.
        source: the training examples: a NumPy array with the examples on the first axis, several
            of them by name, or a `DataSource`. For a tokenizer, examples [*spatial, C], pixels
            uint8, which it sees as x / 255 - 0.5, samples int16, which it sees in its value_range,
            or floats on its own scale; of several arrays, those called "image" or "audio". A single
            array gets the name "data".
        held_out: the examples of evaluations, likewise.
        workdir: the run's folder; created if missing.
        training: settings of the section `training` of `train.py --help`, by name. Those of the
            optimizer apply only to a tokenizer, whose precision is the dtype it was made with.
        log: what the log is written to, beside metrics.jsonl; None: a `TensorBoard`.

    Returns:
        The tokenizer as it was at its best evaluation; for a task, its state then.

    Raises:
        ConfigError: a setting is unknown or out of its range; or the folder holds a run on other
            data or with other settings.
        DataError: what is given is no source, or not one that the tokenizer takes; or an example
            cannot be read.
        CheckpointError: the folder's content cannot be read, or belongs to another model.
        TrainingError: something became NaN or infinite, or a device is out of memory.
        BusyError: another process trains there.
        OSError: the folder cannot be written.
        ValueError: `log` is no list of writers.
        KeyboardInterrupt: Ctrl-C; the current step is saved. Likewise SystemExit after SIGTERM.
    """
    folder = Path(workdir)
    check_folder("workdir", folder)
    settings = training_config(training or {})
    writers = [TensorBoard()] if log is None else log
    check_items("log", writers, LogWriter)
    examples, evaluated = as_source(source, "source"), as_source(held_out, "held_out")
    task, uses = task_or_model, []
    if isinstance(task_or_model, Tokenizer):
        uses = [f"vqvae_jax.load_model({str(folder)!r}, like=model)"]
        task = _default_task(task_or_model, settings, examples, evaluated)
    assert isinstance(task, Task)
    description = {
        "config": {"training": dataclasses.asdict(settings)},
        "data": {
            "digest": str(examples.fingerprint),
            "examples": len(examples),
            "held_out": str(evaluated.fingerprint),
        },
    }
    check_same(description, "its settings or data")

    def check(saved: dict[str, Any]) -> None:
        _check_resumes(folder, saved, description)

    with caught(), failures_named():
        run_task(
            task,
            examples,
            evaluated,
            settings,
            devices_for(settings, examples, evaluated),
            folder,
            description=description,
            about=counted(len(examples), "example"),
            check_resumes=check,
            writers=writers,
            uses=uses,
        )
    if isinstance(task_or_model, Tokenizer):
        return load_model(folder, like=task_or_model)
    best = best_checkpoint(folder)
    assert best is not None
    batch = shapes_of(examples, settings.batch_size)
    like = {"state": jax.eval_shape(task.init, jax.random.key(settings.seed), batch)}
    return best.restore(like=like)["state"]


@contextlib.contextmanager
def failures_named() -> Iterator[None]:
    """Turns a failure of JAX, such as a device without memory, into a TrainingError of one line."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        advice = "the same command, or call, resumes"
        if reason.startswith("RESOURCE_EXHAUSTED"):
            advice = "a smaller training.batch_size takes less memory"
        raise TrainingError(f"JAX gave up: {reason}; {advice}") from error


def run_task(
    task: Task,
    source: DataSource,
    held_out: DataSource,
    settings: TrainingConfig,
    devices: list[jax.Device],
    workdir: Path,
    *,
    description: dict[str, Any],
    about: str,
    check_resumes: Callable[[dict[str, Any]], None],
    writers: Sequence[LogWriter],
    uses: Sequence[str],
) -> None:
    """Runs a task in a folder, from its latest checkpoint if there is one; prints its ending.

    Args:
        task: as for `Run`, like the arguments that follow.
        source: the training examples.
        held_out: the examples of evaluations.
        settings: the protocol.
        devices: from `devices_for`.
        workdir: the run's folder; created if missing.
        description: JSON values, with "config" and "data".
        about: the same in a few words.
        check_resumes: raises a ConfigError if a checkpoint's run, given its description, is another
            one.
        writers: what the log is written to, beside the folder.
        uses: as for `ending`.

    Raises:
        ConfigError, DataError, CheckpointError, BusyError, TrainingError, OSError: as `train`.
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
            source,
            held_out,
            settings,
            devices,
            workdir,
            description=description,
            about=about,
            checkpoint=checkpoint,
            changes=changes,
            writers=writers,
        ).train()
        if is_first_process():
            print(ending(workdir, task, uses), flush=True)
    wait_for_all()  # the first process finishes writing last


def devices_for(
    settings: TrainingConfig, source: DataSource, held_out: DataSource
) -> list[jax.Device]:
    """Returns the devices of a run.

    Raises:
        ConfigError: there are too few; or a batch is larger than the data, or cannot be divided
            among the processes.
    """
    devices = all_devices(settings.devices)
    size = settings.batch_size
    if len(held_out) == 0:
        raise ConfigError("there are no held-out examples; there must be at least 1")
    if size > len(source):
        raise ConfigError(
            f"training.batch_size is {size}; it must be at most {len(source)}, the number of "
            "training examples"
        )
    for batch in (size, len(source) % size, len(held_out) % size):
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


def _default_task(
    model: Tokenizer, settings: TrainingConfig, source: DataSource, held_out: DataSource
) -> TokenizerTask:
    """Returns the task of a tokenizer on sources that it can take.

    Raises:
        DataError: it cannot take them.
        ConfigError: the precision in the settings is not its own.
    """
    if settings.dtype is not None and settings.dtype != model.dtype:
        raise ConfigError(
            f"training.precision is {settings.precision}, but the tokenizer's dtype is "
            f"{model.dtype}; it computes in that, so make it with dtype={settings.precision!r}"
        )
    names = list(source.spec)
    entry = names[0] if len(names) == 1 else "audio" if "audio" in names else "image"
    rank, channels = model.spatial_rank, model.likelihood.out_dim
    types = []
    for argument, given in (("source", source), ("held_out", held_out)):
        if entry not in given.spec:
            held = ", ".join(given.spec)
            like = "for a tokenizer" if given is source else "like source"
            raise DataError(f"{argument} has {held}; it must have {entry}, {like}")
        where = argument if len(given.spec) == 1 else f"{argument}'s {entry}"
        of = given.spec[entry]
        types.append(np.dtype(of.dtype))
        if types[-1] not in (np.uint8, np.int16) and not np.issubdtype(types[-1], np.floating):
            raise DataError(
                f"{where} has type {types[-1]}; it must be uint8, for pixels that the model sees "
                "as x / 255 - 0.5, int16, for samples, or floating"
            )
        if len(of.shape) != rank + 1 or of.shape[-1] != channels:
            raise DataError(
                f"{where} has shape {(len(given), *of.shape)}; it must have the examples, {rank} "
                f"spatial axes, and {channels} channels last"
            )
    if types[0] != types[1]:
        raise DataError(f"held_out has type {types[1]}; it must be {types[0]}, like source")
    return TokenizerTask(model, entry=entry, **optimization(settings, len(source)))
