"""From a config to a run: data, model and task, and the VQ-VAE that a prior needs."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.components import build
from vqvae_jax.data import Dataset, DataSource, NamedDataset, labels_of
from vqvae_jax.errors import ConfigError, DataError
from vqvae_jax.files import check_folder
from vqvae_jax.metrics import Metric
from vqvae_jax.parallel import check_same, first_process_first, wait_for_all
from vqvae_jax.tasks import PriorTask, Task, TokenizerTask
from vqvae_jax.training.building import describe, prior_for, tokenizer_for
from vqvae_jax.training.checkpoint import Checkpoint, described_run, latest_checkpoint
from vqvae_jax.training.codes import CodeMaps, load_codes, map_shape
from vqvae_jax.training.config import Config
from vqvae_jax.training.ending import commands
from vqvae_jax.training.log import read_records
from vqvae_jax.training.optimizer import optimization
from vqvae_jax.training.resuming import changed_setting, check_resumes, config_of
from vqvae_jax.training.saved import load_model
from vqvae_jax.training.schedule import Schedule
from vqvae_jax.training.settings import EvaluationConfig, LogConfig, parts_of
from vqvae_jax.training.start import start_from
from vqvae_jax.training.train import devices_for, failures_named, run_task
from vqvae_jax.weights import weights_digest
from vqvae_jax.words import counted


def train_config(config: Config, workdir: Path) -> None:
    """Trains what the config describes, or resumes the run that `workdir` holds.

    Writes metrics.jsonl, histograms.jsonl, tensorboard/, pictures, run.json and checkpoints/ there.
    A run that was stopped and resumed ends with the same parameters, optimizer state and metrics as
    one that was not.

    A prior models the codes of a VQ-VAE: if `config.prior.vqvae` does not hold a finished run of
    one, that is trained first.

    Args:
        config: the run's settings.
        workdir: the run's folder; created if missing.

    Raises:
        ConfigError: batch, images and model do not fit, or `workdir` holds a run with other
            settings.
        DataError: the data cannot be obtained.
        CheckpointError: what `workdir` holds cannot be read.
        BusyError: another process trains there.
        TrainingError: something became NaN or infinite, a device is out of memory, or another
            process of the run is gone.
        OSError: `workdir` cannot be written.
    """
    check_folder("--workdir", workdir)
    with failures_named():
        wait_for_all()  # connects the processes: later calls may take their time, the first may not
        config, data = first_process_first(lambda: _with_data(config, workdir))
        _train(config, data, workdir)


def _with_data(config: Config, workdir: Path) -> tuple[Config, Dataset]:
    """Loads the data of an existing run, else of a prior's VQ-VAE, else those in the config.

    Returns the config too, with the name that the run has for them: mnist, if the sample stands in
    for it and the config says mnist_sample.
    """
    vqvae = None if config.prior is None else Path(config.prior.vqvae).expanduser()
    for folder in filter(None, (workdir, vqvae)):
        run = described_run(folder)
        if run is None:
            continue
        before = config_of(folder, run).data
        is_alike = type(before) is type(config.data)
        data = config.data.recall(run) if is_alike else config.data.load()
        known = run["data"]
        if folder == vqvae and data.digest != known["digest"]:
            raise ConfigError(
                f"prior.vqvae is {folder}, trained on {known['name']} from {known['source']}; a "
                f"prior is for the codes of the same data, not of {data.name} from {data.source}"
            )
        named = config.data
        if isinstance(named, NamedDataset) and named.name == known["name"]:
            name = before.name if isinstance(before, NamedDataset) else named.name
            config = dataclasses.replace(config, data=dataclasses.replace(named, name=name))
        return config, data
    return config, config.data.load()


def _train(config: Config, data: Dataset, workdir: Path) -> None:
    writers = build(LogConfig, config.log, "log").writers
    devices = devices_for(config.training, data.train, data.test)
    of_kind = _tokenizer if config.prior is None else _prior
    learned = of_kind(config, data, workdir)
    check_same(_decisive(learned.description), "its settings or data")
    examples = counted(len(data.train), data.noun)
    run_task(
        learned.task,
        learned.source,
        learned.held_out,
        config.training,
        devices,
        workdir,
        description=learned.description,
        about=f"{examples} of {data.name} from {data.source}",
        check_resumes=lambda saved: check_resumes(workdir, saved, learned.description),
        writers=writers,
        uses=commands(config, workdir),
    )


@dataclasses.dataclass(frozen=True)
class _Learned:
    """A task, its data, and the description of both in the run's files."""

    task: Task
    source: DataSource
    held_out: DataSource
    description: dict[str, Any]


def _tokenizer(config: Config, data: Dataset, workdir: Path) -> _Learned:
    model = tokenizer_for(config, data)
    folder = config.model["init_from"]
    if folder is not None and latest_checkpoint(workdir) is None:
        start_from(model, folder, parts_of("init_parts", config.model["init_parts"]))
    quantizer = f"{type(model.quantizer).__name__} of {model.quantizer.num_codes} codes"
    task = TokenizerTask(
        model,
        entry=data.entry,
        title=f"{workdir.name}, {quantizer}, {data.name} test split",
        metrics=_metrics(config, data),
        **optimization(config.training, len(data.train)),
    )
    return _Learned(task, data.train, data.test, describe(config, data))


def _metrics(config: Config, data: Dataset) -> Sequence[Metric]:
    metrics = build(EvaluationConfig, config.evaluation, "evaluation").metrics
    for metric in metrics:
        if not metric.takes(data.shape):
            raise ConfigError(
                f"evaluation.metrics has {type(metric).__name__}, which cannot compare examples of "
                f"{data.shape}"
            )
    return metrics


def _decisive(description: dict[str, Any]) -> list[Any]:
    """Returns the part of a description that must agree across processes: not the data's place."""
    sections = {name: of for name, of in description["config"].items() if name != "data"}
    return [sections, *(description[p]["digest"] for p in ("data", "codes") if p in description)]


def _prior(config: Config, data: Dataset, workdir: Path) -> _Learned:
    assert config.prior is not None
    folder = Path(config.prior.vqvae).expanduser().resolve()
    if folder == workdir.resolve():
        raise ConfigError(f"prior.vqvae is {folder}, the run's own folder; it must be another")
    check_folder("prior.vqvae", folder)
    found = _run_in(folder)
    if found is not None:
        there = dataclasses.replace(config_of(folder, found.run), data=config.data)
        other = changed_setting(there, _vqvae_of(config))
        print(
            f"{folder}: using the VQ-VAE there, after {counted(found.step, 'step')}"
            + (f", although {other} in this config" if other else "")
        )
        config = dataclasses.replace(config, model=there.model, vqvae_training=there.training)
    maps = _maps_of(config, data)
    # Check now: the settings may be wrong, or the workdir another run's, and the VQ-VAE takes long.
    prior = prior_for(config, maps)
    if (run := described_run(workdir)) is not None:
        check_resumes(workdir, run, describe(config, data))
    if found is None or not _is_finished(folder, found, data):
        vqvae_config = _vqvae_of(config)
        if found is None:
            epochs = counted(vqvae_config.training.num_epochs, "epoch")
            print(f"no run in {folder}: training its VQ-VAE there first ({epochs} at most)")
        here = dataclasses.replace(vqvae_config.training, devices=config.training.devices)
        _train(dataclasses.replace(vqvae_config, training=here), data, folder)
    vqvae = load_model(folder)
    codes = first_process_first(lambda: load_codes(vqvae, data, folder / "codes.safetensors"))
    description: dict[str, Any] = describe(config, data) | {
        "codes": {
            "source": str(folder),
            "digest": codes.digest,
            "weights": weights_digest(vqvae),
            "maps": dataclasses.asdict(maps),
        }
    }
    assert config.prior is not None
    task = PriorTask(
        prior,
        tokenizer=vqvae,
        code_shape=codes.train_codes.shape[1:],
        label_dropout=config.prior.label_dropout,
        dtype=config.training.dtype,
        **optimization(config.training, len(data.train)),
    )
    return _Learned(task, codes.train, codes.test, description)


def _vqvae_of(config: Config) -> Config:
    """Returns the config of the VQ-VAE's run, from a prior's config."""
    assert config.vqvae_training is not None
    return dataclasses.replace(
        config, training=config.vqvae_training, prior=None, network=None, vqvae_training=None
    )


def _run_in(folder: Path) -> Checkpoint | None:
    """Returns the latest checkpoint of a VQ-VAE's run, if the folder holds one.

    Raises:
        ConfigError: it is the run of a prior, or the folder holds something other than a run.
        CheckpointError: its checkpoints are damaged.
    """
    found = latest_checkpoint(folder)
    if found is None and not _may_begin_in(folder):
        raise ConfigError(
            f"prior.vqvae is {folder}, which is not empty and holds no run; it must be the folder "
            "of a VQ-VAE's run, or empty or missing for one to be trained there first"
        )
    if found is not None and config_of(folder, found.run).prior is not None:
        raise ConfigError(f"prior.vqvae is {folder}, the run of a prior; it must be a VQ-VAE's")
    return found


def _may_begin_in(folder: Path) -> bool:
    """Returns whether a folder is missing, empty, or of a run stopped before a checkpoint."""
    return not folder.exists() or not any(folder.iterdir()) or (folder / "lock").exists()


def _is_finished(folder: Path, found: Checkpoint, data: Dataset) -> bool:
    """Returns whether a VQ-VAE's own command would take no more steps."""
    config = config_of(folder, found.run)
    schedule = Schedule(config.training, len(data.train))
    records = read_records(folder, found.step)
    return schedule.why_over(found.step, found.is_logged, records, config.monitor) is not None


def _maps_of(config: Config, data: Dataset) -> CodeMaps:
    """Returns the geometry of the code maps to come."""
    num_classes = _num_classes(data, config.prior is not None and config.prior.conditional)
    vqvae = tokenizer_for(_vqvae_of(config), data)
    shape, quantizer = map_shape(vqvae, data), vqvae.quantizer
    return CodeMaps(shape, quantizer.num_embeddings, quantizer.num_codebooks, num_classes)


def _num_classes(data: Dataset, is_conditional: bool) -> int:
    """Returns how many classes there are; 0 without labels."""
    labels = labels_of([data.train, data.test])
    if labels is None:
        if is_conditional:
            raise DataError(f"{data.name} has no labels; prior.conditional needs them")
        return 0
    of_training, held_out = labels
    num_classes, lowest = int(of_training.max()) + 1, min(of_training.min(), held_out.min())
    if is_conditional and lowest < 0:
        raise DataError(
            f"{data.name} has the label {lowest}; prior.conditional needs labels of at least 0"
        )
    if np.any(held_out >= num_classes):
        raise DataError(
            f"the test split has the label {held_out.max()}; "
            f"it must be below {num_classes}, like the training split's"
        )
    return num_classes
