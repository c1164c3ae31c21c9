"""Compares imported quantizers with the modules of vector-quantize-pytorch that they are from.

    python3 -m venv .venv-both
    .venv-both/bin/pip install -e . torch==2.13.0 vector-quantize-pytorch==1.32.0
    .venv-both/bin/python benchmarks/imported_quantizers.py

Each class has random weights and learns on both sides from the same batches: moving averages, or
SGD on its loss. After every batch the indices must be equal, and values, codes and averages within
1e-5, relative to numbers above 1; the state dict that goes back must be the one that came, bit for
bit. Prints a table of the largest differences over all batches, and how far the codes moved; exits
with 1 if any is off.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from workers import table

from vqvae_jax import from_vector_quantize_pytorch, to_vector_quantize_pytorch

sys.path.append(str(Path(__file__).parents[1] / "tests" / "golden"))

WITHIN = 1e-5
# The last parts of the names of entries in a state dict.
CODES, AVERAGES = ("embed", "weight"), ("embed_avg", "cluster_size")


@nnx.jit
def step(quantizer: nnx.Module, z: jax.Array, learning_rate: float) -> tuple[jax.Array, jax.Array]:
    """The indices and values, after which the quantizer learns."""

    def loss_of(quantizer: nnx.Module) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        quantized = quantizer(z, key=jax.random.key(0))
        return quantized.loss, (quantized.indices, quantized.values)

    gradients, (indices, values) = nnx.grad(loss_of, has_aux=True)(quantizer)
    params = nnx.state(quantizer, nnx.Param)
    nnx.update(quantizer, jax.tree.map(lambda p, g: p - learning_rate * g, params, gradients))
    quantizer.update(z, indices)
    return indices, values


def difference(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], names: tuple[str, ...]
) -> float:
    """The largest difference of the entries with these names; relative to numbers above 1."""
    found = 0.0
    for name, value in theirs.items():
        if name.rpartition(".")[2] in names:
            apart = np.abs(ours[name] - value) / np.maximum(np.abs(value), 1)
            found = max(found, float(np.max(apart)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--codes", type=int, default=64, help="a power of 2")
    parser.add_argument("--vectors", type=int, default=512, help="in each of a batch's two rows")
    options = parser.parse_args()
    from make_vector_quantize import module_with_random_state, run, state_of
    from vector_quantize_cases import cases

    rows, good = [], True
    for case in cases(options.dim, options.codes):
        module = module_with_random_state(case)
        state = state_of(module)
        quantizer = from_vector_quantize_pytorch(state, case.kind, **case.config)
        back = to_vector_quantize_pytorch(quantizer)
        exact = back.keys() == state.keys() and all(
            value.dtype == back[name].dtype and value.tobytes() == back[name].tobytes()
            for name, value in state.items()
        )
        unequal, worst = 0, dict.fromkeys(("values", "codes", "averages", "moved by"), 0.0)
        theirs = run(module, case, options.steps, options.vectors)
        for number, (indices, values) in enumerate(theirs):
            z = jnp.asarray(case.batch(number, options.vectors))
            our_indices, our_values = step(quantizer, z, case.learning_rate)
            unequal += int(np.sum(np.asarray(our_indices) != indices))
            ours, after = to_vector_quantize_pytorch(quantizer), state_of(module)
            found = {
                "values": difference({"": np.asarray(our_values)}, {"": values}, ("",)),
                "codes": difference(ours, after, CODES),
                "averages": difference(ours, after, AVERAGES if case.learns_averages else ()),
                "moved by": difference(state, after, CODES),
            }
            worst = {name: max(worst[name], found[name]) for name in worst}
        good &= exact and unequal == 0
        good &= max(worst["values"], worst["codes"], worst["averages"]) <= WITHIN
        numbers = [f"{number:.1g}" for number in worst.values()]
        rows.append([case.name, case.kind, "yes" if exact else "NO", str(unequal), *numbers])
        print("done:", *rows[-1], file=sys.stderr)
    header = ["", "class", "back bit for bit", "unequal indices", *worst]
    print(table(header, rows))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
