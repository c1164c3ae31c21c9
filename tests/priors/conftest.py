"""Small priors of every kind, for the tests that run over all of them."""

import functools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.conftest import drawn, run_compiled
from vqvae_jax.priors import GatedPixelCNN, TransformerPrior

KINDS = {
    "pixelcnn": functools.partial(GatedPixelCNN, channels=8, dilations=(1, 2)),
    "transformer": functools.partial(
        TransformerPrior, max_shape=(5, 5), channels=8, num_layers=2, num_heads=2
    ),
}
OF_SIGNALS = functools.partial(KINDS["transformer"], max_shape=(25,))


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture(params=[*KINDS, "transformer of signals"])
def any_kind(request):
    return KINDS.get(request.param, OF_SIGNALS)


@pytest.fixture(
    params=[
        pytest.param(None, id="one codebook", marks=pytest.mark.slow),
        pytest.param(2, id="two codebooks"),
    ]
)
def num_codebooks(request):
    return request.param


@pytest.fixture(
    params=[
        pytest.param((None, None), id="one codebook-no classes", marks=pytest.mark.slow),
        pytest.param((2, 3), id="two codebooks-classes"),
        pytest.param((None, 3), id="one codebook-classes", marks=pytest.mark.slow),
        pytest.param((2, None), id="two codebooks-no classes", marks=pytest.mark.slow),
    ]
)
def prior(request, any_kind):
    """A prior of 4 symbols with random weights, all of them: no bias is 0, no scale 1."""
    num_codebooks, num_classes = request.param
    options = {"num_codebooks": num_codebooks, "num_classes": num_classes}
    return drawn(lambda: any_kind(4, **options, rngs=nnx.Rngs(0)))


@pytest.fixture
def conditional(kind, num_codebooks):
    """The same with classes in every case."""
    return drawn(lambda: kind(4, num_codebooks=num_codebooks, num_classes=3, rngs=nnx.Rngs(0)))


@pytest.fixture
def run():
    return run_compiled


@pytest.fixture
def draw_codes():
    def draw(prior, batch_size, *shape, seed=0):
        """Random code maps, and labels with that of no class among them (None without classes).

        Those of signals have as many positions, on one axis.
        """
        shape = shape if prior.spatial_rank == 2 else (math.prod(shape),)
        random = np.random.RandomState(seed)
        axis = () if prior.num_codebooks is None else (prior.num_codebooks,)
        codes = random.randint(0, prior.num_embeddings, (batch_size, *shape, *axis))
        if prior.num_classes is None:
            return jnp.asarray(codes, jnp.int32), None
        labels = np.arange(batch_size) % (prior.num_classes + 1) - 1
        return jnp.asarray(codes, jnp.int32), jnp.asarray(labels, jnp.int32)

    return draw
