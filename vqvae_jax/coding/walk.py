"""The pass over a batch of images in which their codes and pixels are written, or read."""

import functools
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from vqvae_jax.coding.streams import Stream
from vqvae_jax.errors import DataError
from vqvae_jax.likelihoods import AutoregressiveHead, PixelDistribution, PixelHead
from vqvae_jax.models import Tokenizer
from vqvae_jax.pixels import to_floats
from vqvae_jax.priors import Prior


class Walk:
    """The functions that are compiled once for a device, and the pass over a batch.

    Args:
        vqvae: a VQ-VAE, and
        prior: a prior, that `check_pair` accepts.
        image_shape: H, W and C.
        batch_size: images that pass through the models together.
        device: what computes.

    Raises:
        DataError: images of this shape do not fit the VQ-VAE.
    """

    def __init__(
        self,
        vqvae: Tokenizer,
        prior: Prior,
        image_shape: tuple[int, ...],
        batch_size: int,
        device: jax.Device,
    ):
        head = vqvae.likelihood
        assert isinstance(head, PixelHead)
        self._batch_size = batch_size
        self._image_shape = tuple(image_shape)
        shape = (batch_size, *self._image_shape)
        try:
            codes = jax.eval_shape(vqvae.encode, jax.ShapeDtypeStruct(shape, jnp.float32))
        except ValueError as error:
            raise DataError(f"the images do not fit the VQ-VAE: {error}") from error
        self._maps = codes.shape[1:]
        self._stopped = False
        of_vqvae, of_prior, of_head = (
            functools.partial(_compiled, jax.device_put(nnx.split(model), device))
            for model in (vqvae, prior, head)
        )
        self._encode = of_vqvae(lambda vqvae, images: vqvae.encode(to_floats(images)))
        self._features = of_vqvae(lambda vqvae, codes: vqvae.decoded_codes(codes))
        height, width = self._maps[:2]
        self._start_codes = of_prior(lambda prior: prior.start(batch_size, (height, width)))
        self._prior_step = of_prior(lambda prior, *given: prior.step(*given), donate=True)
        self._codes_table = of_prior(lambda prior, *given: jax.nn.softmax(prior.logits(*given)))
        self._in_order = isinstance(head, AutoregressiveHead)
        distribution = head.distribution
        self._by_channel = not isinstance(distribution, PixelDistribution)
        self._table = jax.jit(
            lambda *given: jnp.exp(distribution.of_channel(*given)), static_argnums=2
        )

        def tables_or_parameters(parameters: Array) -> Array:
            """Returns the tables of all channels; if these depend on each other, the parameters."""
            if isinstance(distribution, PixelDistribution):
                return jnp.exp(distribution.of_channels(parameters))
            return parameters

        def step_in_row(head: AutoregressiveHead, *given: Any) -> tuple[Array, Any]:
            parameters, cache = head.step_in_row(*given)
            return tables_or_parameters(parameters), cache

        if self._in_order:
            self._start = of_head(lambda head, features: head.start(features))
            self._start_row = of_head(lambda head, *given: head.start_row(*given), donate=True)
            self._step_in_row = of_head(step_in_row, donate=True)
        else:
            self._row = of_head(lambda head, features: tables_or_parameters(head.out(features)))

    def __call__(self, stream: Stream, size: int, images: np.ndarray | None) -> np.ndarray:
        """Passes a batch through a stream: uint8 [size, H, W, C], written if given, else read.

        Raises:
            CancelledError: another thread called `stop`.
        """
        self._stopped = False
        known = None if images is None else _padded(images, self._batch_size)
        codes = None if known is None else np.asarray(self._encode(known))
        features = self._features(self._walk_codes(stream, size, codes))
        walk = self._walk_pixels if self._in_order else self._walk_rows
        return walk(stream, size, features, known)[:size]

    def stop(self) -> None:
        """Has a call in another thread end soon."""
        self._stopped = True

    def _code(self, stream: Stream, table: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
        if self._stopped:
            raise CancelledError
        return stream.code(table, symbols)

    def _walk_codes(self, stream: Stream, size: int, known: np.ndarray | None) -> np.ndarray:
        height, width, *axis = self._maps
        codes = np.zeros((self._batch_size, height * width, *axis), np.int32)
        columns = codes.reshape(self._batch_size, height * width, -1)
        given = None if known is None else known.reshape(columns.shape)
        cache = self._start_codes()
        for position in range(height * width):
            before = codes[:, max(position - 1, 0)].copy()
            features, cache = self._prior_step(cache, np.int32(position), before)
            for j in range(columns.shape[2]):
                earlier = [columns[:, position, i].copy() for i in range(j)]
                table = np.asarray(self._codes_table(features, *earlier))[:size]
                symbols = None if given is None else given[:size, position, j]
                columns[:size, position, j] = self._code(stream, table, symbols)
        return codes.reshape(self._batch_size, *self._maps)

    def _walk_pixels(
        self, stream: Stream, size: int, features: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes pixel by pixel, since each one's table depends on earlier pixels."""
        height, width, channels = self._image_shape
        pixels = np.zeros((self._batch_size, height, width, channels), np.uint8)
        cache, before = self._start(features), np.zeros((self._batch_size, channels), np.uint8)
        for row in range(height):
            cache = self._start_row(cache, np.int32(row), before)
            for column in range(width):
                given, cache = self._step_in_row(cache, np.int32(column), before)
                symbols = None if known is None else known[:, row, column]
                before = pixels[:, row, column] = self._code_batch(stream, size, given, symbols)
        return pixels

    def _walk_rows(
        self, stream: Stream, size: int, features: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes row by row, only to keep the tables small."""
        pixels = np.zeros((self._batch_size, *self._image_shape), np.uint8)
        for row in range(self._image_shape[0]):
            symbols = None if known is None else known[:, row]
            pixels[:, row] = self._code_batch(stream, size, self._row(features[:, row]), symbols)
        return pixels

    def _code_batch(
        self, stream: Stream, size: int, given: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes the first pixels [B, ..., C], from their tables, or parameters if by channel."""
        if not self._by_channel:
            pixels = np.zeros(given.shape[:-1], np.uint8)
            symbols = None if known is None else known[:size]
            pixels[:size] = self._code_pixels(stream, np.asarray(given)[:size], symbols)
            return pixels
        pixels = np.zeros((*given.shape[:-1], self._image_shape[2]), np.uint8)
        for channel in range(self._image_shape[2]):
            table = np.asarray(self._table(given, pixels.copy(), channel))[:size]
            symbols = None if known is None else known[:size, ..., channel]
            pixels[:size, ..., channel] = self._code_pixels(stream, table, symbols)
        return pixels

    def _code_pixels(
        self, stream: Stream, table: np.ndarray, symbols: np.ndarray | None
    ) -> np.ndarray:
        """Codes pixels uint8 [...] with tables [..., 256]."""
        flat = None if symbols is None else symbols.ravel().astype(np.int32)
        coded = self._code(stream, table.reshape(-1, table.shape[-1]), flat)
        return coded.astype(np.uint8).reshape(table.shape[:-1])


def _padded(images: np.ndarray, count: int) -> np.ndarray:
    """Pads images with black ones to uint8 [count, H, W, C]."""
    padding = [(0, count - len(images))] + [(0, 0)] * (images.ndim - 1)
    return np.pad(images, padding)


def _compiled(
    model: tuple[Any, Any], function: Callable[..., Any], *, donate: bool = False
) -> Callable[..., Any]:
    """Compiles function(model, ...) for a model from `nnx.split`.

    `donate`: the argument after the model is donated.
    """
    graphdef, state = model

    def call(state: nnx.State, *given: Any) -> Any:
        return function(nnx.merge(graphdef, state), *given)

    return functools.partial(jax.jit(call, donate_argnums=(1,) if donate else ()), state)
