"""Checkpoints: all that decides the future of a run, written whole or not at all (Orbax)."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from vqvae_jax.errors import CheckpointError

Tree = TypeVar("Tree")


class Checkpoints:
    """The checkpoints of one run, under <workdir>/checkpoints: the latest two and the best.

    Args:
        workdir: the run's folder.
        read_only: leave everything as it is, so that a run may go on there at the same time.

    Raises:
        CheckpointError: the folder cannot be used.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False):
        self._folder = (workdir / "checkpoints").absolute()
        latest = policies.LatestN(2)
        best = policies.BestN(
            get_metric_fn=_goal, reverse=True, n=1, keep_checkpoints_without_metrics=False
        )
        with self._named("the checkpoints"):
            self._manager = ocp.CheckpointManager(
                self._folder,
                item_names=("state", "run"),
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=policies.AnyPreservationPolicy([latest, best]),
                    best_fn=_goal,  # without it Orbax forgets the metrics when the process ends
                    best_mode="min",
                    enable_async_checkpointing=False,
                    cleanup_tmp_directories=not read_only,
                    create=not read_only,
                    read_only=read_only,
                ),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The step of the latest checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def best(self) -> int | None:
        """The step of the checkpoint with the lowest held-out goal, or None."""
        return self._manager.best_step()

    def save(
        self, step: int, state: Any, run: dict[str, Any], goal: Mapping[str, float] | None
    ) -> None:
        """Writes one checkpoint and drops those that are neither among the latest two nor the best.

        Args:
            step: how many steps are done.
            state: a pytree of arrays.
            run: JSON values that describe the run.
            goal: the held-out figure at this step, by its name; None where there was no evaluation.
        """
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_named_leaves(jax.device_get(state))),
                run=ocp.args.JsonSave(run),
            ),
            metrics=None if goal is None else dict(goal),
        )

    def run(self, step: int) -> dict[str, Any]:
        """What `save` was given as `run` at `step`.

        Raises:
            CheckpointError: it cannot be read.
        """
        with self._named(f"checkpoint {step}"):
            arguments = ocp.args.Composite(run=ocp.args.JsonRestore())
            return self._manager.restore(step, args=arguments).run

    def restore(self, step: int, like: Tree) -> Tree:
        """The state saved at `step`.

        Args:
            step: one of the checkpoints.
            like: a pytree of the same structure, shapes and types; or a part of one.

        Returns:
            A pytree like `like`.

        Raises:
            CheckpointError: it cannot be read, a leaf is missing, or has another shape or type.
        """
        with self._named(f"checkpoint {step}"):
            arguments = ocp.args.Composite(state=ocp.args.StandardRestore())
            saved = self._manager.restore(step, args=arguments).state
        leaves = []
        for name, leaf in _named_leaves(like).items():
            if name not in saved:
                raise CheckpointError(f"checkpoint {step} has no {name}")
            value = np.asarray(saved[name])
            if (value.shape, value.dtype) != (leaf.shape, leaf.dtype):
                raise CheckpointError(
                    f"checkpoint {step} holds {name} as {value.dtype} {value.shape}, "
                    f"not {leaf.dtype} {leaf.shape}"
                )
            leaves.append(jax.device_put(value))
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    @contextlib.contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Turns whatever goes wrong inside Orbax into an error that says where."""
        try:
            yield
        except Exception as error:  # Orbax, tensorstore and json each raise their own kinds
            reason = str(error).partition("\n")[0]
            raise CheckpointError(
                f"{what} in {self._folder} cannot be read ({type(error).__name__}: {reason})"
            ) from error


def _goal(metrics: Mapping[str, float]) -> float:
    (value,) = metrics.values()
    return value


def _named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their path, such as params.encoder.convs.0.kernel."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value"): leaf
        for path, leaf in paths
    }
