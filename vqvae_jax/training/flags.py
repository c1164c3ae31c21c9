"""The command line: --config FILE, --workdir DIR, --config.SECTION.SETTING=VALUE."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config, overridden
from vqvae_jax.training.config_files import read_config

USAGE = "--config CONFIG [--workdir DIR] [--config.SECTION.SETTING=VALUE ...]"


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among several that train together; see `process.join_processes`."""

    coordinator_address: str
    num_processes: int
    process_id: int


def parse(arguments: Sequence[str]) -> tuple[Config, Path, Processes | None]:
    """Reads the command line.

    Args:
        arguments: without the program's name.

    Returns:
        The validated config, the run's folder, and the processes if there are several.

    Raises:
        ConfigError: a flag, the config file or a setting is missing, unknown or out of its range.
    """
    overrides, others = _split(arguments)
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--workdir")
    parser.add_argument("--coordinator_address")
    parser.add_argument("--num_processes", type=int)
    parser.add_argument("--process_id", type=int)
    given, strays = parser.parse_known_args(others)
    if strays:
        raise ConfigError(f"{strays[0]!r} is not a flag (usage: {USAGE})")
    if given.config is None:
        raise ConfigError(f"--config is missing (usage: {USAGE})")
    settings, name = read_config(given.config)
    # A component's other settings depend on its kind.
    for path, value in sorted(overrides, key=lambda override: not override[0].endswith(".kind")):
        settings = overridden(settings, path, value)
    workdir = Path(given.workdir or Path("runs") / name).expanduser()
    processes = _processes(given.coordinator_address, given.num_processes, given.process_id)
    return Config.from_dict(settings), workdir, processes


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (usage: {USAGE})")


def _split(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Returns the settings that are replaced, by path, and the other arguments."""
    overrides: list[tuple[str, str]] = []
    others: list[str] = []
    left = [*arguments]
    while left:
        argument = left.pop(0)
        override = re.fullmatch(r"--?config\.([^=]*)(?:=(.*))?", argument, re.DOTALL)
        if override is None:
            others.append(argument)
            continue
        path, value = override.groups()
        if value is None:
            if not left:
                raise ConfigError(f"--config.{path} has no value (usage: {USAGE})")
            value = left.pop(0)
        overrides.append((path, value))
    return overrides, others


def _processes(address: Any, count: int | None, number: int | None) -> Processes | None:
    if address is None and count is None and number is None:
        return None
    if address is None or count is None or number is None:
        raise ConfigError(
            "coordinator_address, num_processes and process_id must all be given, or none"
        )
    if not re.fullmatch(r".+:\d{1,5}", address):
        raise ConfigError(f"coordinator_address is {address!r}; it must be HOST:PORT")
    if count < 1:
        raise ConfigError(f"num_processes is {count}; it must be an integer of at least 1")
    if not 0 <= number < count:
        raise ConfigError(f"process_id is {number}; it must be from 0 to {count - 1}")
    return Processes(address, count, number)
