"""Exchanges folders of weights with diffusers and transformers, and compares what they compute.

    python benchmarks/pretrained_folders.py --pytorch PYTHON [family ...]

PYTHON is an interpreter with torch, diffusers, transformers and safetensors. For each family of
tests/golden/make_pretrained.py it writes the small model by its own save_pretrained. We read that
folder, compute, and write another one, which it reads by its own from_pretrained. Printed are
whether the codes are the same, the largest difference of the images (of the latents, where there is
no decoder), and whether it computes from our folder, bit for bit, what it does from its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from safetensors.numpy import save_file
from workers import table

import vqvae_jax

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "tests" / "golden" / "pretrained"
FAMILIES = sorted(
    path.stem for path in GOLDEN.glob("*.json") if "seed" in json.loads(path.read_text())
)


def exchanged(family: str, folder: Path) -> dict[str, np.ndarray]:
    """Reads a model from folder/theirs, writes it to folder/ours; returns what it computes."""
    (file,) = (folder / "theirs").glob("*.safetensors")
    text = (folder / "theirs" / "config.json").read_text()
    state = vqvae_jax.load_state_dict(file)
    tokenizer = vqvae_jax.from_state_dict(family, state, json.loads(text))
    (folder / "ours").mkdir()
    (folder / "ours" / "config.json").write_text(text)
    again = vqvae_jax.to_state_dict(tokenizer)
    save_file(again, folder / "ours" / file.name, metadata={"format": "pt"})
    graphdef, variables = nnx.split(tokenizer)

    @jax.jit
    def computed(variables: nnx.State, x: jax.Array) -> dict[str, jax.Array]:
        tokenizer = nnx.merge(graphdef, variables)
        codes = tokenizer.encode(x)
        if not hasattr(tokenizer, "decoder"):
            return {"indices": codes, "latents": tokenizer.latents(x)}
        return {"indices": codes, "reconstruction": tokenizer.decode(codes)}

    with np.load(folder / "theirs.npz") as theirs:
        x = np.moveaxis(theirs["input"], 1, -1)
    return {name: np.asarray(array) for name, array in computed(variables, x).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pytorch", required=True, metavar="PYTHON")
    parser.add_argument("families", nargs="*", metavar="family")
    options = parser.parse_args()
    families = options.families or FAMILIES
    rows, fine = [], True
    with tempfile.TemporaryDirectory() as name:

        def run(step: str) -> None:
            worker = HERE / "pretrained_folders_pytorch.py"
            subprocess.run([options.pytorch, str(worker), name, step, *families], check=True)

        run("theirs")
        ours = {family: exchanged(family, Path(name, family)) for family in families}
        run("ours")
        for family, arrays in ours.items():
            one, other = (
                dict(np.load(Path(name, family, f"{of}.npz"))) for of in ("theirs", "ours")
            )
            same = bool(np.array_equal(arrays["indices"], one["indices"]))
            last = list(arrays)[-1]
            difference = float(np.abs(arrays[last] - np.moveaxis(one[last], 1, -1)).max())
            back = all(np.array_equal(one[key], other[key]) for key in one)
            rows.append([family, str(same), f"{difference:.1e}", str(back)])
            fine = fine and same and back and difference < 1e-4
    print(table(["", "same codes", "difference", "back bit for bit"], rows))
    if not fine:
        sys.exit("they do not compute the same")


if __name__ == "__main__":
    main()
