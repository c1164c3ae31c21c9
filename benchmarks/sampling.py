"""Times drawing code maps: position by position from a cache, and by a full forward a position.

    python benchmarks/sampling.py

Both ways draw 64 maps of 7 x 7 from the same distribution with the same keys, in one jitted loop on
one CPU device each; that they draw the same codes is checked. They take turns, and the median over
the rounds counts; compilation is apart.
"""

import argparse
import time
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from workers import table

from vqvae_jax import GatedPixelCNN, Prior, TransformerPrior, sample_codes

SHAPE = (7, 7)
CODES = 128
PRIORS = {
    "GatedPixelCNN": lambda rngs: GatedPixelCNN(CODES, rngs=rngs),
    "TransformerPrior": lambda rngs: TransformerPrior(CODES, SHAPE, rngs=rngs),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=64, help="maps at a time")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = []
    for name, build in PRIORS.items():
        prior = build(nnx.Rngs(0))
        ways = {
            "incremental": lambda key, p=prior: sample_codes(p, options.number, SHAPE, key=key),
            "full": lambda key, p=prior: sample_by_full_forwards(p, options.number, key),
        }
        drawn = [np.asarray(draw(jax.random.key(0))) for draw in ways.values()]
        same = np.mean(drawn[0] == drawn[1])
        times: dict[str, list[float]] = {way: [] for way in ways}
        for index in range(options.rounds):
            for way, draw in ways.items():
                start = time.perf_counter()
                draw(jax.random.key(index)).block_until_ready()
                times[way].append(time.perf_counter() - start)
        fast, slow = median(times["incremental"]), median(times["full"])
        rows.append(
            [name, f"{1000 * fast:.0f}", f"{1000 * slow:.0f}", f"{slow / fast:.1f}", f"{same:.4f}"]
        )
    header = ["prior", "incremental, ms", "full forwards, ms", "ratio", "codes that agree"]
    print(table(header, rows))


def sample_by_full_forwards(prior: Prior, number: int, key: jax.Array) -> jax.Array:
    """Draws what `sample_codes` does, with the logits of whole maps at every position."""
    return _sample(*nnx.split(prior), number, key)


def _sample_by_full(
    graph: nnx.GraphDef, state: nnx.State, number: int, key: jax.Array
) -> jax.Array:
    prior = nnx.merge(graph, state)

    def draw(codes: jax.Array, position: jax.Array) -> tuple[jax.Array, None]:
        logits = prior(codes).reshape(number, -1, CODES)[:, position]
        own = jax.random.fold_in(jax.random.fold_in(key, position), 0)
        drawn = jax.random.categorical(own, logits - logits.max(-1, keepdims=True))
        flat = codes.reshape(number, -1).at[:, position].set(drawn.astype(jnp.int32))
        return flat.reshape(codes.shape), None

    codes = jnp.zeros((number, *SHAPE), jnp.int32)
    return jax.lax.scan(draw, codes, jnp.arange(SHAPE[0] * SHAPE[1]))[0]


_sample = jax.jit(_sample_by_full, static_argnums=(0, 2))


if __name__ == "__main__":
    main()
