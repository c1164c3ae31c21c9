"""A classifier of recordings, for speech.py: which digit is said in them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from vqvae_jax import MelSpectrogram
from vqvae_jax.data import Dataset
from vqvae_jax.layers import Conv
from vqvae_jax.signals import to_signal

BATCH_SIZE = 64
WIDTHS = (32, 64, 128)


class Classifier(nnx.Module):
    """Convolutions of a log-mel spectrogram, their mean over time, and a linear layer."""

    def __init__(self, sample_rate: int, classes: int, rngs: nnx.Rngs):
        self.mel = MelSpectrogram(sample_rate, window=256, hop=80, num_mels=40)
        inputs = (1, *WIDTHS[:-1])
        self.convs = nnx.List(
            [
                Conv(a, b, 3, stride=2, padding=1, rngs=rngs)
                for a, b in zip(inputs, WIDTHS, strict=True)
            ]
        )
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.out = nnx.Linear(WIDTHS[-1] * self.mel.num_mels // 8, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits [B, classes] of signals [B, T, 1] in [-1, 1]."""
        x = self.mel.log(x[..., 0])[..., None] / 5 + 1
        for conv in self.convs:
            x = nnx.relu(conv(x))
        return self.out(self.dropout(jnp.mean(x, axis=1).reshape(len(x), -1)))


def trained(data: Dataset, epochs: int) -> Classifier:
    """The classifier after so many epochs of Adam, its step falling to 0."""
    labels = np.array([data.train[index]["label"] for index in range(len(data.train))])
    model = Classifier(data.sample_rate, int(labels.max()) + 1, nnx.Rngs(0))
    steps = len(labels) // BATCH_SIZE
    rate = optax.cosine_decay_schedule(3e-3, epochs * steps)
    optimizer = nnx.Optimizer(model, optax.adam(rate), wrt=nnx.Param)

    @nnx.jit
    def step(model: Classifier, optimizer: nnx.Optimizer, x: jax.Array, labels: jax.Array) -> None:
        def loss(model: Classifier) -> jax.Array:
            logits = model(to_signal(x))
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    random = np.random.RandomState(0)
    draw = getattr(data.train, "draw", lambda index, random: data.train[index])
    model.train()
    for _ in range(epochs):
        order = random.permutation(len(labels))
        for chosen in order[: steps * BATCH_SIZE].reshape(steps, BATCH_SIZE):
            x = np.stack([draw(index, random)["audio"] for index in chosen.tolist()])
            step(model, optimizer, x, labels[chosen])
    model.eval()
    return model


def recognized(classifier: Classifier, signals: np.ndarray, labels: np.ndarray) -> float:
    """The share of signals [N, T, 1] in [-1, 1] whose most probable class is the given one."""
    graphdef, state = nnx.split(classifier)
    parts = np.array_split(signals, -(-len(signals) // 100))
    found = [np.asarray(_classes(graphdef, state, jnp.asarray(part))) for part in parts]
    return float(np.mean(np.concatenate(found) == labels))


@partial(jax.jit, static_argnums=0)
def _classes(graphdef: nnx.GraphDef, state: nnx.State, signals: jax.Array) -> jax.Array:
    return jnp.argmax(nnx.merge(graphdef, state)(signals), axis=-1)
