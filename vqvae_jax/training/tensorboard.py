"""The metrics of a run for TensorBoard."""

import os
import time
from pathlib import Path
from typing import Any

from vqvae_jax.extras import extra
from vqvae_jax.files import naming


class TensorBoardLog:
    """Writes scalars to an event file, in the caller's thread.

    tensorboardX's writer uses a thread of its own, which a full disk ends silently.

    Args:
        folder: the folder of the event files; created if missing.
        purge_step: records in earlier files from this step on are discarded.

    Raises:
        OSError: the file cannot be written; the methods raise it too.
    """

    def __init__(self, folder: Path, purge_step: int):
        with extra("train"):
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event, SessionLog
            from tensorboardX.summary import scalar

        self._event, self._scalar, self._folder = Event, scalar, folder
        with naming(folder):
            folder.mkdir(exist_ok=True)
            self._writer = EventsWriter(str(folder / "events"), f".{os.getpid()}")
            restart = SessionLog(status=SessionLog.START)
            self._writer.write_event(
                Event(wall_time=time.time(), step=purge_step, session_log=restart)
            )

    def write(self, record: dict[str, Any]) -> None:
        """Adds the metrics of a record, at its step and under its split."""
        names = record.keys() - {"step", "split", "epoch", "images"}
        with naming(self._folder):
            for name in sorted(names):
                summary = self._scalar(f"{record['split']}/{name}", record[name])
                self._writer.write_event(
                    self._event(wall_time=time.time(), step=record["step"], summary=summary)
                )

    def flush(self) -> None:
        """Flushes what was written to the operating system."""
        with naming(self._folder):
            self._writer.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        with naming(self._folder):
            self._writer.close()
