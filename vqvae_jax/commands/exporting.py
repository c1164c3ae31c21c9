"""The command that writes the model of a run to a folder of its own."""

from pathlib import Path

from flax import nnx

from vqvae_jax.commands.common import check_run
from vqvae_jax.files import check_parent
from vqvae_jax.models import Tokenizer
from vqvae_jax.pretrained.folder import save_pretrained
from vqvae_jax.priors import Prior
from vqvae_jax.training.saved import exported_run, load_pair, load_run


def export(workdir: Path, vqvae: Path | None, output: Path) -> None:
    """Writes the best model of a run, with its figures; with a prior, the tokenizer of its codes.

    A tokenizer that has moved, and that `vqvae` does not name, is left out.
    """
    check_parent(output)
    run = load_run(workdir, nnx.Module)
    check_run(run)
    tokenizer: Tokenizer | None = None
    if isinstance(run.model, Prior):
        place = vqvae or Path(run.description["codes"]["source"])
        if vqvae is not None or place.exists():
            tokenizer = load_pair(workdir, vqvae)[1].model
        else:
            print(f"without its tokenizer, which is not in {place}; --vqvae says where it is")
    save_pretrained(run.model, output, run=exported_run(run), tokenizer=tokenizer)
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"{output}: the {type(run.model).__name__} of {workdir}, {size / 2**20:.1f} MB")
