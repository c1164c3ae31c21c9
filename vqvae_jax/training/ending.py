"""The last lines of a finished run: how good it became, where its results are, what to do next."""

import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from vqvae_jax.data.audio_folder import AudioFolder
from vqvae_jax.data.folder import FileFolder
from vqvae_jax.tasks import Task
from vqvae_jax.training.checkpoint import checkpoint_file
from vqvae_jax.training.config import Config
from vqvae_jax.training.log import read_records


def ending(workdir: Path, task: Task, uses: Sequence[str]) -> str:
    """Returns what to print at the end of a run.

    Args:
        workdir: the run's folder.
        task: the run's task.
        uses: what the user may do with it now, one command a line.
    """
    saved = [
        record
        for record in read_records(workdir, sys.maxsize)
        if record["split"] == "test" and checkpoint_file(workdir, record["step"]).exists()
    ]
    best = min(saved, key=lambda record: record.get(task.monitor, math.inf), default=None)
    pictures = sorted(path.name for path in workdir.glob("*.png"))
    lines = []
    if best is not None:
        lines += [
            f"{workdir}: best after step {best['step']}, epoch {best['epoch']}: "
            f"{task.summary(best)}",
            f"  checkpoint  {checkpoint_file(workdir, best['step'])}",
        ]
    if pictures:
        lines.append(f"  pictures    {workdir / ', '.join(pictures)}")
    lines += [f"  {'' if place else 'next':10}  {use}" for place, use in enumerate(uses)]
    return "\n".join(lines)


def commands(config: Config, workdir: Path) -> list[str]:
    """Returns what may be done with a run of `train.py` now, as commands.

    Args:
        config: the run's settings.
        workdir: its folder.
    """
    program, model = "python -m vqvae_jax", f"--model {shlex.quote(str(workdir))}"
    files = "FOLDER"
    if isinstance(config.data, FileFolder):
        files = shlex.quote(config.data.path)
    uses = [
        f"reconstruct {model} --output out {files}",
        f"encode {model} --output codes.npz {files}",
    ]
    if config.kind == "prior":
        output = "samples" if isinstance(config.data, AudioFolder) else "samples.png"
        uses = [f"sample {model} --output {output}"]
    return [f"{program} {use}" for use in (f"report {model}", *uses)]
