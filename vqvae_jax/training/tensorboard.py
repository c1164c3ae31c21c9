"""The log of a run for TensorBoard."""

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqvae_jax.extras import extra
from vqvae_jax.files import naming
from vqvae_jax.training.writers import LogWriter, Record, buckets, images, scalars


class TensorBoard(LogWriter):
    """Writes scalars, images and histograms to the folder tensorboard of the run.

    In the caller's thread: tensorboardX's own writer has another one, which a full disk ends
    silently.
    """

    def open(self, workdir: Path, resume_step: int) -> None:
        """See `LogWriter.open`: what earlier files hold of later steps, TensorBoard discards."""
        with extra("train"):
            from tensorboardX import summary
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto import event_pb2

        self._summary, self._events = summary, event_pb2
        self._folder = workdir / "tensorboard"
        with naming(self._folder):
            self._folder.mkdir(exist_ok=True)
            self._writer = EventsWriter(str(self._folder / "events"), f".{os.getpid()}")
        restart = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(resume_step + 1, session_log=restart)

    def write(self, record: Record) -> None:
        """See `LogWriter.write`."""
        for name, value in scalars(record).items():
            self._add(record["step"], summary=self._summary.scalar(name, value))

    def figures(self, step: int, figures: Mapping[str, bytes]) -> None:
        """See `LogWriter.figures`."""
        summary = self._summary.Summary
        for name, content in images(figures).items():
            width, height = struct.unpack(">II", content[16:24])  # of the PNG's first chunk
            image = summary.Image(height=height, width=width, encoded_image_string=content)
            self._add(step, summary=summary(value=[summary.Value(tag=name, image=image)]))

    def histograms(self, step: int, counts: Mapping[str, np.ndarray]) -> None:
        """See `LogWriter.histograms`."""
        for name, of in counts.items():
            in_buckets, edges = buckets(of)
            values = np.arange(len(of))
            histogram = self._summary.histogram_raw(
                name,
                min=0,
                max=len(of),
                num=of.sum(),
                sum=of @ values,
                sum_squares=of @ values**2,
                bucket_limits=edges[1:],
                bucket_counts=in_buckets,
            )
            self._add(step, summary=histogram)

    def flush(self) -> None:
        """See `LogWriter.flush`: hands what was written to the operating system."""
        with naming(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """See `LogWriter.close`."""
        with naming(self._folder):
            self._writer.close()

    def _add(self, step: int, **content: Any) -> None:
        with naming(self._folder):
            event = self._events.Event(wall_time=time.time(), step=step, **content)
            self._writer.write_event(event)
