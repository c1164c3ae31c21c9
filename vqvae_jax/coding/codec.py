"""Maps images to bytes and back, at the rate of log2 p(x | z) + log2 p(z).

The encoder's codes z are written first, each with its probability under the prior, then the pixels
x with theirs under the head. The reader must have bit-exactly the same probabilities: both
directions run the same compiled steps with the same batches.
"""

import functools
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, UInt8

from vqvae_jax.coding.container import pack, unpack
from vqvae_jax.coding.streams import OutOfStepError, Reader, Stream, Writer
from vqvae_jax.errors import DataError
from vqvae_jax.likelihoods import AutoregressiveHead, PixelDistribution, PixelHead
from vqvae_jax.models import Tokenizer
from vqvae_jax.pairs import check_pair
from vqvae_jax.pixels import to_floats
from vqvae_jax.priors import Prior
from vqvae_jax.weights import weights_digest

# Images that pass through the models together.
_BATCH_SIZE = 512

# Words of a block's pixel digest.
_CHECK_WORDS = 2


def compress(
    vqvae: Tokenizer,
    prior: Prior,
    images: np.ndarray,
    progress: Callable[[int], object] = lambda images: None,
) -> bytes:
    """Returns a file's content from which `decompress` restores the images bit-exactly.

    Args:
        vqvae: a VQ-VAE with a head.
        prior: a prior over its codes; one with classes is used without a class, which it must have
            learned.
        images: uint8 [N, H, W, C].
        progress: called repeatedly with the number of images done.

    Raises:
        DataError: the images do not fit the VQ-VAE.
        ValueError: the images are not uint8; the VQ-VAE has no head; the prior is over other codes.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images have type {images.dtype}; they must be uint8")
    codec = _Codec(vqvae, prior, images.shape[1:])
    blocks = []
    for start in range(0, len(images), _BATCH_SIZE):
        writer = Writer()
        batch = images[start : start + _BATCH_SIZE]
        codec.walk(writer, len(batch), batch)
        blocks.append(np.concatenate([_check_words(batch), writer.words()]))
        progress(len(batch))
    header = {"images": len(images), "models": _models_digest(vqvae, prior)}
    return pack(header, blocks)


def decompress(
    vqvae: Tokenizer,
    prior: Prior,
    content: bytes,
    image_shape: tuple[int, int, int],
    name: str = "the file",
    progress: Callable[[int], object] = lambda images: None,
) -> UInt8[np.ndarray, "n h w c"]:
    """Returns the images of a file that `compress` made with the same models.

    The arithmetic must be the same too: the same kind of processor and the same version of JAX. If
    it is not, an error says so; wrong images are never returned.

    Args:
        vqvae: a VQ-VAE with a head.
        prior: a prior over its codes.
        content: the file's content.
        image_shape: H, W and C of the VQ-VAE's images.
        name: the file's name, for errors.
        progress: called repeatedly with the number of images done.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        DataError: the content is not such a file, is damaged, or was made with other models or
            other arithmetic.
        ValueError: the VQ-VAE has no head; the prior is over other codes.
    """
    codec = _Codec(vqvae, prior, image_shape)
    header, blocks = unpack(content, name)
    count = header.get("images")
    if type(count) is not int or -(-count // _BATCH_SIZE) != len(blocks) or count < 0:
        raise DataError(f"{name} is damaged: {len(blocks)} blocks cannot hold {count!r} images")
    if header.get("models") != _models_digest(vqvae, prior):
        raise DataError(f"{name} was compressed with other models")
    batches = [np.zeros((0, *image_shape), np.uint8)]
    for index, block in enumerate(blocks):
        size = min(_BATCH_SIZE, count - index * _BATCH_SIZE)
        check, words = np.split(block, [_CHECK_WORDS])
        try:
            batch = codec.walk(Reader(words), size, None)
        except OutOfStepError:
            batch = None
        if batch is None or not np.array_equal(_check_words(batch), check):
            raise DataError(
                f"{name} cannot be decompressed here: the models compute other probabilities on "
                "this machine, or with this version of JAX, than where it was compressed"
            )
        batches.append(batch)
        progress(size)
    return np.concatenate(batches)


class _Codec:
    """The functions that are compiled once, and the pass over a batch."""

    def __init__(self, vqvae: Tokenizer, prior: Prior, image_shape: tuple[int, ...]):
        check_pair(vqvae, prior)
        self._prior = prior
        assert isinstance(vqvae.likelihood, PixelHead)  # checked
        self._head = vqvae.likelihood
        self._image_shape = tuple(image_shape)
        shape = (_BATCH_SIZE, *self._image_shape)
        try:
            codes = jax.eval_shape(vqvae.encode, jax.ShapeDtypeStruct(shape, jnp.float32))
        except ValueError as error:
            raise DataError(f"the images do not fit the VQ-VAE: {error}") from error
        self._maps = codes.shape[1:]
        self._encode = _compiled(vqvae, lambda vqvae, images: vqvae.encode(to_floats(images)))
        self._features = _compiled(
            vqvae, lambda vqvae, codes: vqvae.decoded(vqvae.quantizer.lookup(codes))
        )
        self._prior_step = _compiled(
            prior, lambda prior, cache, p, codes: prior.step(cache, p, codes), donate=True
        )
        self._codes_table = _compiled(
            prior, lambda prior, *given: jax.nn.softmax(prior.logits(*given))
        )
        head = self._head
        if isinstance(head, AutoregressiveHead):
            self._start = _compiled(head, lambda head, features: head.start(features))
            self._head_step = _compiled(head, lambda head, *given: head.step(*given), donate=True)
        else:
            self._row = _compiled(head, lambda head, features: head.out(features))
        distribution = head.distribution
        if isinstance(distribution, PixelDistribution):
            self._tables = jax.jit(lambda given: jnp.exp(distribution.of_channels(given)))
        else:
            self._table = jax.jit(
                lambda *given: jnp.exp(distribution.of_channel(*given)), static_argnums=2
            )

    def walk(self, stream: Stream, size: int, images: np.ndarray | None) -> np.ndarray:
        """Passes a batch through a stream: uint8 [size, H, W, C], written if given, else read."""
        known = None if images is None else _padded(images)
        codes = None if known is None else np.asarray(self._encode(known))
        codes = self._walk_codes(stream, size, codes)
        features = self._features(codes)
        if isinstance(self._head, AutoregressiveHead):
            pixels = self._walk_pixels(stream, size, features, known)
        else:
            pixels = self._walk_rows(stream, size, features, known)
        return pixels.reshape(-1, *self._image_shape)[:size]

    def _walk_codes(self, stream: Stream, size: int, known: np.ndarray | None) -> np.ndarray:
        height, width, *axis = self._maps
        codes = np.zeros((_BATCH_SIZE, height * width, *axis), np.int32)
        columns = codes.reshape(_BATCH_SIZE, height * width, -1)
        given = None if known is None else known.reshape(columns.shape)
        cache = self._prior.start(_BATCH_SIZE, (height, width))
        for position in range(height * width):
            before = codes[:, max(position - 1, 0)].copy()
            features, cache = self._prior_step(cache, np.int32(position), before)
            for j in range(columns.shape[2]):
                earlier = [columns[:, position, i].copy() for i in range(j)]
                table = np.asarray(self._codes_table(features, *earlier))[:size]
                symbols = None if given is None else given[:size, position, j]
                columns[:size, position, j] = stream.code(table, symbols)
        return codes.reshape(_BATCH_SIZE, *self._maps)

    def _walk_pixels(
        self, stream: Stream, size: int, features: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes pixel by pixel, since each one's table depends on earlier pixels."""
        height, width, channels = self._image_shape
        pixels = np.zeros((_BATCH_SIZE, height * width, channels), np.uint8)
        given = None if known is None else known.reshape(pixels.shape)
        cache = self._start(features)
        for position in range(height * width):
            before = pixels[:, max(position - 1, 0)].copy()
            parameters, cache = self._head_step(cache, np.int32(position), before)
            symbols = None if given is None else given[:, position]
            pixels[:, position] = self._coded(stream, size, parameters, symbols)
        return pixels

    def _walk_rows(
        self, stream: Stream, size: int, features: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes row by row, only to keep the tables small."""
        pixels = np.zeros((_BATCH_SIZE, *self._image_shape), np.uint8)
        for row in range(self._image_shape[0]):
            symbols = None if known is None else known[:, row]
            pixels[:, row] = self._coded(stream, size, self._row(features[:, row]), symbols)
        return pixels

    def _coded(
        self, stream: Stream, size: int, parameters: Array, known: np.ndarray | None
    ) -> np.ndarray:
        """Codes the first pixels of [B, ..., C]; all channels at once, if they are independent."""
        channels = self._image_shape[2]
        pixels = np.zeros((*parameters.shape[:-1], channels), np.uint8)
        if not self._head.distribution.sequential:
            symbols = None if known is None else known[:size]
            pixels[:size] = _coded(stream, np.asarray(self._tables(parameters))[:size], symbols)
            return pixels
        for channel in range(channels):
            table = np.asarray(self._table(parameters, pixels.copy(), channel))[:size]
            symbols = None if known is None else known[:size, ..., channel]
            pixels[:size, ..., channel] = _coded(stream, table, symbols)
        return pixels


def _coded(stream: Stream, table: np.ndarray, symbols: np.ndarray | None) -> np.ndarray:
    """Calls `Stream.code` with tables [..., 256] and pixels uint8 [...]."""
    flat = None if symbols is None else symbols.ravel().astype(np.int32)
    coded = stream.code(table.reshape(-1, table.shape[-1]), flat)
    return coded.astype(np.uint8).reshape(table.shape[:-1])


def _padded(images: np.ndarray) -> np.ndarray:
    """Pads images with black ones to uint8 [_BATCH_SIZE, H, W, C]."""
    padding = [(0, _BATCH_SIZE - len(images))] + [(0, 0)] * (images.ndim - 1)
    return np.pad(images, padding)


def _compiled(
    model: nnx.Module, function: Callable[..., Any], *, donate: bool = False
) -> Callable[..., Any]:
    """Compiles function(model, ...); `donate`: the argument after the model is donated."""
    graphdef, state = nnx.split(model)

    def call(state: nnx.State, *given: Any) -> Any:
        return function(nnx.merge(graphdef, state), *given)

    return functools.partial(jax.jit(call, donate_argnums=(1,) if donate else ()), state)


def _check_words(images: np.ndarray) -> np.ndarray:
    """Returns the words at the start of a block that verify its decoded images."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data).digest()
    return np.frombuffer(digest, "<u4")[:_CHECK_WORDS].astype(np.uint32)


def _models_digest(vqvae: Tokenizer, prior: Prior) -> str:
    return hashlib.sha256((weights_digest(vqvae) + weights_digest(prior)).encode()).hexdigest()
