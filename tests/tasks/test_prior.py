"""The task of a prior against the definition: the mean over the batch, and its gradient."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from PIL import Image

from tests.conftest import drawn
from tests.signals import small_audio_tokenizer
from vqvae_jax import VQVAE, GatedPixelCNN, TransformerPrior, drop_labels, nll
from vqvae_jax.data import ArraySource
from vqvae_jax.metrics import Evaluator
from vqvae_jax.parallel import mesh_for, replicated, split
from vqvae_jax.tasks import Evaluation, PriorTask
from vqvae_jax.tasks import prior as module

RANDOM = np.random.RandomState(0)
KEY = jax.random.key(3)
PRIORS = {
    "pixelcnn": lambda **options: GatedPixelCNN(5, channels=4, dilations=(1,), **options),
    "transformer": lambda **options: TransformerPrior(
        5, (3, 2), channels=4, num_layers=1, num_heads=2, dropout=0.25, **options
    ),
}


def task_of(kind, *, num_codebooks=None, num_classes=3, label_dropout=0.4):
    axis = () if num_codebooks is None else (num_codebooks,)
    prior = PRIORS[kind](num_codebooks=num_codebooks, num_classes=num_classes, rngs=nnx.Rngs(0))
    vqvae = VQVAE(1, 2, 5, 0.1, rngs=nnx.Rngs(0))
    label_dropout = label_dropout if num_classes else 0.0
    return PriorTask(prior, optax.identity(), vqvae, (3, 2, *axis), label_dropout)


def examples_of(task, count):
    codes = RANDOM.randint(0, 5, (count, *task.code_shape)).astype(np.int32)
    return ArraySource({"codes": codes, "label": np.arange(count, dtype=np.int32) % 3})


def sums_over(task, examples, batch_size):
    state = task.init(jax.random.key(0), jax.tree.map(jnp.asarray, examples.arrays))
    return Evaluator(task.eval_step, jax.devices())(state, examples, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
@pytest.mark.parametrize(
    ("kind", "num_codebooks", "num_classes"),
    [
        ("pixelcnn", None, 3),
        ("transformer", None, 3),
        ("pixelcnn", 2, None),
    ],
)
def test_gradients_are_those_of_the_whole_batch(
    monkeypatch, kind, num_codebooks, num_classes, devices
):
    monkeypatch.setattr(module, "_CPU_POSITIONS", 2 * 3 * 2)  # two maps at a time
    task = task_of(kind, num_codebooks=num_codebooks, num_classes=num_classes)
    batch = examples_of(task, 12).arrays
    mesh = mesh_for(jax.devices()[:devices], 12)
    gradients, totals, _ = jax.jit(lambda w, b: task.gradients(mesh, w, b, KEY))(
        jax.device_put(task.weights, replicated(mesh)), jax.device_put(batch, split(mesh))
    )

    codes, labels = map(jnp.asarray, batch.values())
    labels = drop_labels(labels, 0.4, jax.random.fold_in(KEY, 0)) if num_classes else None
    keys = jax.random.split(jax.random.fold_in(KEY, 1), 12)

    def loss(params):
        return nll(task.merge((params, task.weights[1])), codes, labels, keys=keys)

    expected, wanted = jax.jit(jax.value_and_grad(loss))(task.weights[0])
    assert totals["images"] == 12
    np.testing.assert_allclose(totals["loss"], 12 * expected, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradients), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 4, pytest.param(6, marks=pytest.mark.slow)])
def test_metrics_are_those_of_the_whole_split(batch_size):
    task = task_of("transformer", num_codebooks=2)
    examples = examples_of(task, 6)
    metrics = task.metrics(sums_over(task, examples, batch_size))
    codes, labels = map(jnp.asarray, examples.arrays.values())
    expected = float(jax.jit(lambda weights: nll(task.merge(weights), codes, labels))(task.weights))
    assert metrics["images"] == 6
    np.testing.assert_allclose([metrics["nll"], metrics["loss"]], expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["bits_per_image"], expected * 3 * 2 * 2 / math.log(2), rtol=1e-5
    )


@pytest.mark.slow
def test_labels_matter_only_where_there_are_classes():
    for num_classes in (3, None):
        task = task_of("pixelcnn", num_classes=num_classes)
        examples = examples_of(task, 6)
        others = ArraySource(examples.arrays | {"label": 0 * examples.arrays["label"]})
        losses = [sums_over(task, some, 6)["loss"] for some in (examples, others)]
        assert (losses[0] == losses[1]) == (num_classes is None)


@pytest.fixture
def of_signals():
    options = {"channels": 4, "num_layers": 1, "num_heads": 1, "num_codebooks": 2, "num_classes": 3}
    prior = drawn(lambda: TransformerPrior(5, (7,), **options, rngs=nnx.Rngs(0)))
    return PriorTask(prior, optax.identity(), drawn(small_audio_tokenizer), (7, 2))


def test_of_signals_the_bits_are_those_of_an_example(of_signals):
    metrics = of_signals.metrics({"images": np.int32(3), "loss": np.float32(3 * math.log(4))})
    assert metrics["bits_per_example"] == pytest.approx(2 * 7 * 2)
    assert of_signals.summary(metrics) == "test nll 1.3863  28.0 bits per example"


@pytest.mark.slow
def test_pictures_of_signals_are_spectrograms(monkeypatch, of_signals):
    given = []
    monkeypatch.setattr(module.figures, "samples", lambda *shown: given.extend(shown) or b"samples")
    examples = examples_of(of_signals, 3)
    state = of_signals.init(jax.random.key(0), jax.tree.map(jnp.asarray, examples.arrays))
    metrics = of_signals.metrics(sums_over(of_signals, examples, 3))
    records = [{"step": 1, "split": split, **metrics} for split in ("train", "test")]
    evaluation = Evaluation(examples, None, metrics, records, "step 1")
    written = of_signals.figures(state, evaluation)
    assert written["samples.png"] == b"samples"
    assert Image.open(io.BytesIO(written["training.png"])).format == "PNG"
    images, labels, title = given
    assert images.shape == (64, 128, 1, 1)
    np.testing.assert_array_equal(np.unique(labels), [0, 1, 2])
    assert title.startswith("spectrograms of samples after step 1 (test nll")
