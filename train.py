"""Trains a VQ-VAE or a prior; `python train.py --help` lists the settings."""

import logging
import sys

from vqvae_jax.errors import CheckpointError, ConfigError, DataError, TrainingError
from vqvae_jax.training.flags import help_text, parse


def main() -> int:
    """Runs the program and returns its exit status: 2 for wrong settings, 1 for other failures."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vqvae_jax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    if {"-h", "--help"} & set(sys.argv):
        print(help_text())
        return 0
    try:
        config, workdir = parse()
        # These imports take seconds: not before the settings are right.
        from vqvae_jax.training.process import (
            keep_compilations,
            keep_memory,
            use_all_cores,
        )
        from vqvae_jax.training.train import train

        use_all_cores()
        keep_memory()
        keep_compilations()
        train(config, workdir)
    except (ConfigError, DataError, CheckpointError, TrainingError, OSError) as error:
        print("train.py:", *str(error).split(), file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    except KeyboardInterrupt:
        print("train.py: interrupted; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
