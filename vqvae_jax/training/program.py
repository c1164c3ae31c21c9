"""The program that trains: `python train.py`, and `python -m vqvae_jax train`."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence

from vqvae_jax.errors import (
    BusyError,
    CheckpointError,
    ConfigError,
    DataError,
    MissingError,
    TrainingError,
)
from vqvae_jax.training.interruption import Interrupted, importing

_HELP = ("-h", "--help")
_KNOWN = (BusyError, CheckpointError, ConfigError, DataError, MissingError, TrainingError, OSError)


def main(arguments: Sequence[str] | None = None, name: str = "train.py") -> int:
    """Trains what the arguments describe.

    Args:
        arguments: command-line arguments; None: those of this process.
        name: the program's name, for error messages.

    Returns:
        The exit status: 2 for wrong settings, 128 plus the signal's number if the program was
        stopped by a signal, 1 for other failures.
    """
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vqvae_jax").setLevel(logging.INFO)
    logging.getLogger("absl").setLevel(logging.ERROR)
    arguments = sys.argv[1:] if arguments is None else arguments
    leave: Callable[[int], object] = int  # or what ends one of several processes
    try:
        with importing():
            from vqvae_jax.training.flags import parse
        if {*_HELP} & {*arguments}:
            _print_help(arguments)
            return 0
        config, workdir, processes = parse(arguments)
        with importing():  # takes seconds, so only once the settings are valid
            from vqvae_jax.training import process
            from vqvae_jax.training.experiment import train_config
        process.use_all_cores()
        if processes is not None:
            process.join_processes(*dataclasses.astuple(processes))
            leave = process.leave_others
        process.keep_memory()
        process.keep_compilations()
        train_config(config, workdir)
    except _KNOWN as error:
        print(f"{name}:", *str(error).split(), file=sys.stderr)
        status = 2 if isinstance(error, ConfigError) else 1
    except Interrupted as signal:
        print(f"{name}: stopped by {signal}; the same command resumes", file=sys.stderr)
        status = signal.exit_status
    else:
        return 0
    leave(status)
    return status


def _print_help(arguments: Sequence[str]) -> None:
    """Prints the help, or that of the components that follow --help."""
    with importing():
        from vqvae_jax.training.help import component_help, help_text
    flag = next(place for place, argument in enumerate(arguments) if argument in _HELP)
    components = [name for name in arguments[flag + 1 :] if not name.startswith("-")]
    print("\n\n".join(map(component_help, components)) if components else help_text())
