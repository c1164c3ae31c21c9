"""The runs that the fault tests disturb."""

from tests.conftest import write_small_set
from tests.data.pictures import write
from tests.end_to_end.programs import ROOT
from vqvae_jax.data import load_dataset

# 90 images of 12 x 12: 12 steps of 8 per epoch, the last of them of 2 images.
_COMMON = {
    "training.batch_size": 8,
    "training.max_steps": 40,
    "training.log_every": 5,
    "training.checkpoint_every": 7,
}

KINDS = {
    "seed": ("mnist.py", {}),
    # 72 vectors per batch: with more codes k-means would find the same one twice, and which of two
    # equal codes is nearest depends on how sums are rounded.
    "ema": ("mnist_ema.py", {"model.quantizer.num_embeddings": 32}),
    "prior": (
        "mnist_prior.py",
        {"prior.channels": 8, "vqvae_training.batch_size": 8, "vqvae_training.max_steps": 24},
    ),
    # As many photos, of different sizes, decoded by workers in every epoch.
    "folder": (
        "images.py",
        {
            "data.size": 12,
            "data.resize": 0,
            "data.cache": "nowhere",
            "model.encoder.width": 8,
            "model.decoder.width": 8,
            "model.quantizer.num_embeddings": 32,
        },
    ),
}


def prepare(root, train=90):
    """Prepares the data in a folder, where their archives and photos stay; returns it."""
    data_dir = root / "data"
    write_small_set(data_dir / "downloads" / "manual" / "tiny", train=train)
    load_dataset("tiny", data_dir=str(data_dir))
    sizes = {f"train/{index:03}": (12 + index % 5, 15 + index % 4) for index in range(train)}
    write(data_dir / "photos", sizes | {f"test/{index}": (12, 12) for index in range(12)})
    return data_dir


def command(kind, workdir, data_dir, **changed):
    """The arguments of train.py for a small run of a kind."""
    config, settings = KINDS[kind]
    where = {"data.path": data_dir / "photos"} if kind == "folder" else {"data.name": "tiny"}
    settings = _COMMON | settings | where | {"data.data_dir": data_dir}
    if kind == "prior":
        settings["prior.vqvae"] = workdir.with_name(workdir.name + "_vqvae")
    settings |= {name.replace("__", "."): value for name, value in changed.items()}
    flags = [f"--config.{name}={value}" for name, value in settings.items()]
    return ["--config", ROOT / "configs" / config, "--workdir", workdir, *flags]
