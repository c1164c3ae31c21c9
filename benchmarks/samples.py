"""Judges class-conditional samples of a prior by a classifier trained on the same data set.

    python benchmarks/samples.py --workdir runs/mnist_prior_conditional

The classifier, a small convolutional network, is trained on the training images, shifted by up to
two pixels, and measured on the test split. Then it is shown as many samples of each class, and for
comparison the test split reconstructed by the VQ-VAE of the prior. Prints the shares recognized as
the class asked for.
"""

import argparse
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from vqvae_jax.data import Dataset
from vqvae_jax.layers import Conv
from vqvae_jax.pixels import to_floats
from vqvae_jax.report.samples import draw_images
from vqvae_jax.training.process import keep_memory
from vqvae_jax.training.saved import load_data, load_pair

BATCH_SIZE = 128


class Classifier(nnx.Module):
    """Three convolutions, two of them of stride 2, and two linear layers."""

    def __init__(self, size: int, classes: int, rngs: nnx.Rngs):
        self.convs = nnx.List(
            [
                Conv(1, 32, 3, padding=1, rngs=rngs),
                Conv(32, 64, 3, stride=2, padding=1, rngs=rngs),
                Conv(64, 64, 3, stride=2, padding=1, rngs=rngs),
            ]
        )
        self.hidden = nnx.Linear(64 * (size // 4) ** 2, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(128, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [B, classes] of images [B, H, W, 1] in [-0.5, 0.5]."""
        for conv in self.convs:
            x = nnx.relu(conv(x))
        return self.out(self.dropout(nnx.relu(self.hidden(x.reshape(len(x), -1)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True, help="the run of a prior")
    parser.add_argument("--number", type=int, default=1000, help="samples, of all classes together")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0])
    parser.add_argument("--epochs", type=int, default=6, help="of the classifier")
    parser.add_argument("--archives", help="folder with the data set's archives")
    options = parser.parse_args()
    keep_memory()

    prior, vqvae = load_pair(options.workdir)
    data = load_data(prior, archives=options.archives)
    classifier = trained(data, options.epochs)
    test_images, test_labels = data.test.arrays["image"], data.test.arrays["label"]
    share = recognized(classifier, to_floats(jnp.asarray(test_images)), test_labels)
    print(f"test images: {100 * share:.2f} %")

    images = jnp.asarray(test_images)
    rebuilt = [
        reconstructed(vqvae.model, images[start : start + 500])
        for start in range(0, len(images), 500)
    ]
    share = recognized(classifier, np.concatenate(rebuilt), test_labels)
    print(f"test images, reconstructed: {100 * share:.2f} %")

    classes = prior.model.num_classes
    labels = np.arange(options.number) % classes
    height, width = prior.description["codes"]["maps"]["shape"]
    for guidance in options.guidance:
        drawn = draw_images(
            vqvae.model,
            prior.model,
            options.number,
            (height, width),
            key=jax.random.key(0),
            labels=labels,
            temperature=options.temperature,
            guidance=guidance,
        )
        share = recognized(classifier, drawn, labels)
        each = [
            recognized(classifier, drawn[labels == c], labels[labels == c]) for c in range(classes)
        ]
        print(
            f"{options.number} samples, guidance {guidance:g}: {100 * share:.2f} %  "
            f"(by class: {', '.join(f'{100 * part:.0f}' for part in each)})"
        )


@nnx.jit
def reconstructed(vqvae: nnx.Module, images: jax.Array) -> jax.Array:
    return vqvae.decode(vqvae.encode(to_floats(images)), key=jax.random.key(2))


def trained(data: Dataset, epochs: int) -> Classifier:
    """The classifier after so many epochs of Adam, its step falling to 0."""
    images, labels = data.train.arrays["image"], data.train.arrays["label"]
    model = Classifier(images.shape[1], int(labels.max()) + 1, nnx.Rngs(0))
    steps = len(images) // BATCH_SIZE
    rate = optax.cosine_decay_schedule(1e-3, epochs * steps)
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=nnx.Param)

    @nnx.jit
    def step(model: Classifier, optimizer: nnx.Optimizer, x: jax.Array, labels: jax.Array) -> None:
        def loss(model: Classifier) -> jax.Array:
            logits = model(to_floats(x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    random = np.random.RandomState(0)
    model.train()
    for _ in range(epochs):
        order = random.permutation(len(images))
        for chosen in order[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE):
            moved = np.roll(images[chosen], random.randint(-2, 3, 2), axis=(1, 2))
            step(model, optimizer, moved, labels[chosen].astype(np.int32))
    model.eval()
    return model


def recognized(classifier: Classifier, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of images whose most probable class is the given one."""
    graphdef, state = nnx.split(classifier)
    found = [
        np.asarray(_classes(graphdef, state, jnp.asarray(images[start : start + 500])))
        for start in range(0, len(images), 500)
    ]
    return float(np.mean(np.concatenate(found) == labels))


@functools.partial(jax.jit, static_argnums=0)
def _classes(graphdef: nnx.GraphDef, state: nnx.State, images: jax.Array) -> jax.Array:
    return jnp.argmax(nnx.merge(graphdef, state)(images), axis=-1)


if __name__ == "__main__":
    main()
