"""The log of a run for Weights & Biases."""

import contextlib
import io
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.files import write_atomically
from vqvae_jax.training.writers import LogWriter, Record, buckets, images, scalars


class Wandb(LogWriter):
    """Logs to Weights & Biases: scalars, images and histograms over "step", and the run's settings.

    It needs the extra wandb. The environment variables of wandb apply, such as WANDB_API_KEY and
    WANDB_MODE=offline. A resumed run continues its log there, in which the steps that are taken
    again appear twice.

    Args:
        project: the name of the project.
        name: the name of the run; None: that of its folder.

    Raises:
        MissingError: wandb is missing.
        ConnectionError: it does not accept the run.
    """

    def __init__(self, project: str, name: str | None = None):
        if not isinstance(project, str) or not project:
            raise ValueError(f"project is {project!r}; it must be a name")
        with extra("wandb"):
            import wandb

        self._wandb, self.project, self.name = wandb, project, name

    def open(self, workdir: Path, resume_step: int) -> None:
        """See `LogWriter.open`."""
        identity = workdir / "wandb" / "id"
        if not identity.exists():
            identity.parent.mkdir(exist_ok=True)
            write_atomically(identity, secrets.token_hex(4).encode())
        with self._failing():
            self._run = self._wandb.init(
                project=self.project,
                name=self.name or workdir.resolve().name,
                id=identity.read_text(),
                resume="allow",
                dir=str(workdir),
                config=json.loads((workdir / "run.json").read_text())["config"],
                allow_val_change=True,  # such as that of max_steps
            )
            self._run.define_metric("*", step_metric="step")

    def write(self, record: Record) -> None:
        """See `LogWriter.write`."""
        self._log(record["step"], scalars(record))

    def figures(self, step: int, figures: Mapping[str, bytes]) -> None:
        """See `LogWriter.figures`."""
        with extra("train"):
            from PIL import Image

        drawn = {name: Image.open(io.BytesIO(png)) for name, png in images(figures).items()}
        self._log(step, {name: self._wandb.Image(image) for name, image in drawn.items()})

    def histograms(self, step: int, counts: Mapping[str, np.ndarray]) -> None:
        """See `LogWriter.histograms`."""
        histogram = self._wandb.Histogram
        self._log(step, {name: histogram(np_histogram=buckets(of)) for name, of in counts.items()})

    def close(self) -> None:
        """See `LogWriter.close`."""
        with self._failing():
            self._run.finish()

    def _log(self, step: int, values: Mapping[str, object]) -> None:
        if values:
            with self._failing():
                self._run.log({"step": step, **values})

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Makes an error of wandb one that ends the run in a line."""
        try:
            yield
        except self._wandb.Error as error:
            raise ConnectionError(f"wandb: {error}") from error
