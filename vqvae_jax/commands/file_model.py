"""A trained tokenizer, applied to files of any size in batches."""

import abc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Num

from vqvae_jax.commands.batching import Sized, cut
from vqvae_jax.errors import DataError
from vqvae_jax.metrics import Metric
from vqvae_jax.models import Tokenizer
from vqvae_jax.parallel import all_devices, mesh_for, place, replicated, split
from vqvae_jax.quantizers import GroupedResidualVQ, Quantizer
from vqvae_jax.training.saved import SavedRun
from vqvae_jax.values import to_values
from vqvae_jax.weights import weights_digest


class FileModel(abc.ABC):
    """The tokenizer of a run, or an exported one, on all devices, for files of one kind.

    Args:
        run: the run of a tokenizer, or an exported one.
        codebooks: from how many of the first codebooks it decodes; None: from all.

    Attributes:
        run: the run.
        tokenizer: its model.
        channels: those of its data.
        digest: of its weights.
        noun: what a file holds, in a word.
        suffixes: those of the files that are searched for in folders.
        ending: the suffix of the files that are written.
        remedy: what helps against too large a file, if anything does.

    Raises:
        ValueError: it cannot decode from so many codebooks.
    """

    noun: ClassVar[str]
    suffixes: ClassVar[Sequence[str]]
    ending: ClassVar[str]
    remedy: ClassVar[str] = ""

    def __init__(self, run: SavedRun, codebooks: int | None = None):
        self.run = run
        self.tokenizer: Tokenizer = run.model
        self.channels = self.tokenizer.likelihood.out_dim
        self.digest = weights_digest(self.tokenizer)
        self._codebooks = codebooks
        if codebooks is not None:
            check_codebooks(self.tokenizer, codebooks)
        self._devices = all_devices()
        self._graphdef, self._state = nnx.split(self.tokenizer)
        self._encode, self._decode = (
            jax.jit(function, static_argnums=0) for function in (_encoded, _decoded)
        )
        self._compare = jax.jit(self._compared)

    @property
    @abc.abstractmethod
    def metrics(self) -> Sequence[Metric]:
        """The metrics that compare examples with their reconstructions."""

    @abc.abstractmethod
    def read(self, file: Path) -> Num[np.ndarray, "*spatial c"]:
        """Decodes a file: pixels uint8, or 16-bit samples.

        Raises:
            DataError: it cannot be decoded.
        """

    @abc.abstractmethod
    def filled(self, array: Num[np.ndarray, "*spatial c"]) -> Num[np.ndarray, "*spatial_out c"]:
        """Pads what `read` returned, so that it can be encoded, and few sizes are compiled."""

    @abc.abstractmethod
    def written(self, array: Float[np.ndarray, "*spatial c"]) -> bytes:
        """Returns the content of a file, of an example in [0, 1]."""

    @abc.abstractmethod
    def pictures(
        self, x: Num[np.ndarray, "*spatial c"], back: Float[np.ndarray, "*spatial c"]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns pictures uint8 [H, W, 1 or 3] of what was read, and of its reconstruction."""

    @abc.abstractmethod
    def described(self, size: Sequence[int]) -> str:
        """Returns a size in words."""

    def own_codes(
        self, codes: Int[np.ndarray, "*codes"], size: tuple[int, ...]
    ) -> Int[np.ndarray, "*own"]:
        """Returns the codes to keep of padded data that had this size before."""
        del size
        return codes

    def filled_codes(self, codes: Int[np.ndarray, "*own"]) -> Int[np.ndarray, "*codes"]:
        """Pads codes, so that few sizes are compiled."""
        return codes

    def encode(self, arrays: Sequence[np.ndarray]) -> Int[np.ndarray, " b *codes"]:
        """Returns the codes of examples [*spatial, C] of one size, as `filled` returns them.

        Raises:
            DataError: they are too large for the devices' memory.
        """
        return self._on_devices(self._encode, arrays)

    def decode(self, codes: Sequence[np.ndarray]) -> Float[np.ndarray, "b *spatial c"]:
        """Returns the examples of codes of one size, in [0, 1]: the likelihood's best guess."""
        return self._on_devices(self._decode, self._first(codes))

    def coded(self, batch: Sequence[Sized]) -> list[Sized]:
        """Returns the codes of padded examples of one size."""
        codes = self.encode([one.array for one in batch])
        return [
            Sized(one.name, self.own_codes(of_one, one.size), one.size)
            for one, of_one in zip(batch, codes, strict=True)
        ]

    def decoded(self, codes: Iterable[Sized]) -> list[np.ndarray]:
        """Returns the examples, in [0, 1] and without padding, of codes of one size if padded."""
        codes = [*codes]
        arrays = self.decode([self.filled_codes(one.array) for one in codes])
        return [cut(array, one.size) for array, one in zip(arrays, codes, strict=True)]

    def compare(
        self, x: Num[np.ndarray, "*spatial c"], back: Float[np.ndarray, "*spatial c"]
    ) -> dict[str, float]:
        """Returns the metrics of what was read, and of its reconstruction in [0, 1]."""
        found = self._compare(jnp.asarray(x[None]), jnp.asarray(back[None]))
        return {name: float(value) for name, value in found.items()}

    def _compared(self, x: Array, back: Array) -> dict[str, Array]:
        pair = to_values(x, (0.0, 1.0)), back
        return {
            metric.name: metric(*(metric.scaled(of, (0.0, 1.0)) for of in pair))[0]
            for metric in self.metrics
            if metric.takes(x.shape[1:])
        }

    def _first(self, codes: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the codes of the codebooks that it decodes from."""
        return [of[..., : self._codebooks] for of in codes]

    def _on_devices(self, function: Any, arrays: Sequence[np.ndarray], *others: Any) -> Any:
        """Returns, on the host, what a function of the model and a batch gives."""
        mesh = mesh_for(self._devices, len(arrays))
        self._state = place(self._state, replicated(mesh))
        given = place(np.stack(arrays), split(mesh))
        try:
            return jax.device_get(function(self._graphdef, self._state, given, *others))
        except jax.errors.JaxRuntimeError as error:
            reason = str(error).partition("\n")[0]
            raise DataError(f"JAX gave up on {arrays[0].shape}: {reason}{self.remedy}") from error


def check_codebooks(tokenizer: Tokenizer, codebooks: int) -> None:
    """Checks that a tokenizer decodes from so many of its first codebooks.

    Raises:
        ValueError: it does not.
    """
    most = tokenizer.quantizer.num_codebooks
    if most is None or not 1 <= codebooks <= most:
        allowed = f"from 1 to {most}" if most else "left out: the model has a single codebook"
        raise ValueError(f"codebooks is {codebooks}; it must be {allowed}")
    if not _takes_first(tokenizer.quantizer, codebooks):
        raise ValueError(
            f"codebooks is {codebooks}; the model, with a {type(tokenizer.quantizer).__name__}, "
            f"decodes from all {most} together"
        )


def _takes_first(quantizer: Quantizer, codebooks: int) -> bool:
    """Returns whether values can be looked up by the first so many of several codebooks."""
    parts = (part for _, part in nnx.iter_graph(quantizer))
    if any(isinstance(part, GroupedResidualVQ) for part in parts):
        return codebooks == quantizer.num_codebooks  # the first are those of the first group
    try:
        jax.eval_shape(quantizer.lookup, jax.ShapeDtypeStruct((1, codebooks), jnp.int32))
    except ValueError:
        return False
    return True


def _encoded(
    graphdef: nnx.GraphDef, state: nnx.State, data: Num[Array, "b *spatial c"]
) -> Int[Array, " b *codes"]:
    model = nnx.merge(graphdef, state)
    return model.encode(to_values(data, model.value_range))


def _decoded(
    graphdef: nnx.GraphDef, state: nnx.State, codes: Int[Array, " b *codes"]
) -> Float[Array, "b *spatial c"]:
    model = nnx.merge(graphdef, state)
    return reconstructed(model, model.decoded_codes(codes))


def reconstructed(
    model: Tokenizer, decoded: Float[Array, "b *spatial f"]
) -> Float[Array, "b *spatial c"]:
    """Returns the best guess of the data, in [0, 1], for what the decoder gives."""
    low, high = model.value_range
    data = model.likelihood.reconstruct(decoded, jax.random.key(0))
    return jnp.clip((data - low) / (high - low), 0, 1)
