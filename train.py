"""Trains a VQ-VAE or a prior; `python train.py --help` lists the settings."""

import dataclasses
import logging
import sys
from collections.abc import Callable

from vqvae_jax.errors import BusyError, CheckpointError, ConfigError, DataError, TrainingError
from vqvae_jax.training.flags import help_text, parse
from vqvae_jax.training.interruption import Interrupted, catch_signals

_KNOWN = (BusyError, CheckpointError, ConfigError, DataError, TrainingError)


def main() -> int:
    """Runs the program and returns its exit status.

    It is 2 for wrong settings, 128 and the signal's number where the program was asked to leave, 1
    for other failures.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vqvae_jax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    leave: Callable[[int], object] = int  # or what ends one of several processes
    if {"-h", "--help"} & set(sys.argv):
        print(help_text())
        return 0
    try:
        config, workdir, processes = parse()
        # These imports take seconds: not before the settings are right.
        from vqvae_jax.training import process
        from vqvae_jax.training.experiment import train_config

        process.use_all_cores()
        if processes is not None:
            process.join_processes(*dataclasses.astuple(processes))
            leave = process.leave_others
        process.keep_memory()
        process.keep_compilations()
        train_config(config, workdir)
    except (*_KNOWN, OSError) as error:
        print("train.py:", *str(error).split(), file=sys.stderr)
        status = 2 if isinstance(error, ConfigError) else 1
    except Interrupted as signal:
        print(f"train.py: left on {signal}; the same command goes on", file=sys.stderr)
        status = signal.exit_status
    else:
        return 0
    leave(status)
    return status


if __name__ == "__main__":
    catch_signals()
    sys.exit(main())
