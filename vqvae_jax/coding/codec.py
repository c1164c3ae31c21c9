"""Maps images to bytes and back, at the rate of log2 p(x | z) + log2 p(z).

The encoder's codes z are written first, each with its probability under the prior, then the pixels
x with theirs under the head. The reader must have bit-exactly the same probabilities: both
directions run the same steps, compiled for each device, with the same batches.
"""

import hashlib
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jaxtyping import UInt8

from vqvae_jax.coding.container import pack, unpack
from vqvae_jax.coding.streams import OutOfStepError, Reader, Writer
from vqvae_jax.coding.walk import Walk
from vqvae_jax.errors import DataError
from vqvae_jax.models import Tokenizer
from vqvae_jax.pairs import check_pair
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
    devices: Sequence[jax.Device] | None = None,
) -> bytes:
    """Returns a file's content from which `decompress` restores the images bit-exactly.

    Args:
        vqvae: a VQ-VAE with a head.
        prior: a prior over its codes; one with classes is used without a class, which it must have
            learned.
        images: uint8 [N, H, W, C].
        progress: called repeatedly with the number of images done.
        devices: devices to compute on, each a batch of 512 images at a time, in a thread of its
            own; None: the default device, or all of this process if none is set.

    Raises:
        DataError: the images do not fit the VQ-VAE.
        ValueError: the images are not uint8; the VQ-VAE has no head; the prior is over other codes.
    """
    if images.dtype != np.uint8:
        raise ValueError(f"images have type {images.dtype}; they must be uint8")
    check_pair(vqvae, prior)
    starts = range(0, len(images), _BATCH_SIZE)

    def block(walk: Walk, start: int) -> np.ndarray:
        writer = Writer()
        batch = images[start : start + _BATCH_SIZE]
        walk(writer, len(batch), batch)
        return np.concatenate([_check_words(batch), writer.words()])

    blocks = []
    for start, words in zip(
        starts, _each(vqvae, prior, images.shape[1:], devices, block, starts), strict=True
    ):
        blocks.append(words)
        progress(min(_BATCH_SIZE, len(images) - start))
    header = {"images": len(images), "models": _models_digest(vqvae, prior)}
    return pack(header, blocks)


def decompress(
    vqvae: Tokenizer,
    prior: Prior,
    content: bytes,
    image_shape: tuple[int, int, int],
    name: str = "the file",
    progress: Callable[[int], object] = lambda images: None,
    devices: Sequence[jax.Device] | None = None,
) -> UInt8[np.ndarray, "n h w c"]:
    """Returns the images of a file that `compress` made with the same models.

    The arithmetic must be the same too: the same kind of processor, and the same versions of JAX
    and vqvae_jax. If it is not, an error says so; wrong images are never returned.

    Args:
        vqvae: a VQ-VAE with a head.
        prior: a prior over its codes.
        content: the file's content.
        image_shape: H, W and C of the VQ-VAE's images.
        name: the file's name, for errors.
        progress: called repeatedly with the number of images done.
        devices: devices to compute on, each a batch of 512 images at a time, in a thread of its
            own; None: the default device, or all of this process if none is set.

    Returns:
        uint8 [N, H, W, C].

    Raises:
        DataError: the content is not such a file, is damaged, or was made with other models or
            other arithmetic.
        ValueError: the VQ-VAE has no head; the prior is over other codes.
    """
    check_pair(vqvae, prior)
    header, blocks = unpack(content, name)
    count = header.get("images")
    if type(count) is not int or -(-count // _BATCH_SIZE) != len(blocks) or count < 0:
        raise DataError(f"{name} is damaged: {len(blocks)} blocks cannot hold {count!r} images")
    if header.get("models") != _models_digest(vqvae, prior):
        raise DataError(f"{name} was compressed with other models")
    batches = [np.zeros((0, *image_shape), np.uint8)]

    def batch(walk: Walk, index: int) -> np.ndarray:
        check, words = np.split(blocks[index], [_CHECK_WORDS])
        try:
            read = walk(Reader(words), min(_BATCH_SIZE, count - index * _BATCH_SIZE), None)
        except OutOfStepError:
            read = None
        if read is None or not np.array_equal(_check_words(read), check):
            raise DataError(
                f"{name} cannot be decompressed here: the models compute other probabilities on "
                "this machine, or with these versions of JAX and vqvae_jax, than where it was "
                "compressed"
            )
        return read

    for read in _each(vqvae, prior, image_shape, devices, batch, range(len(blocks))):
        batches.append(read)
        progress(len(read))
    return np.concatenate(batches)


def _each(
    vqvae: Tokenizer,
    prior: Prior,
    image_shape: tuple[int, ...],
    devices: Sequence[jax.Device] | None,
    function: Callable[[Walk, int], np.ndarray],
    given: range,
) -> Iterator[np.ndarray]:
    """Yields function(walk, item) for the items in order; each device takes one at a time."""
    used = (_default_devices() if devices is None else devices)[: max(1, len(given))]
    walks = [Walk(vqvae, prior, image_shape, _BATCH_SIZE, device) for device in used]
    free: queue.SimpleQueue[Walk] = queue.SimpleQueue()
    for walk in walks:
        free.put(walk)

    def call(item: int) -> np.ndarray:
        walk = free.get()
        try:
            return function(walk, item)
        finally:
            free.put(walk)

    with ThreadPoolExecutor(len(walks)) as threads:
        try:
            yield from threads.map(call, given)
        finally:  # the executor waits for the batches that have begun
            for walk in walks:
                walk.stop()


def _default_devices() -> list[jax.Device]:
    chosen = jax.config.jax_default_device  # type: ignore[attr-defined]
    if chosen is None or isinstance(chosen, str):
        return jax.local_devices(backend=chosen)
    return [chosen]


def _check_words(images: np.ndarray) -> np.ndarray:
    """Returns the words at the start of a block that verify its decoded images."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data).digest()
    return np.frombuffer(digest, "<u4")[:_CHECK_WORDS].astype(np.uint32)


def _models_digest(vqvae: Tokenizer, prior: Prior) -> str:
    return hashlib.sha256((weights_digest(vqvae) + weights_digest(prior)).encode()).hexdigest()
