"""The command line: --config FILE, --workdir DIR, --config.SECTION.FIELD=VALUE."""

import dataclasses
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.extras import extra
from vqvae_jax.training.config import SECTIONS, Config, rule_of
from vqvae_jax.training.config_files import ConfigFile, shipped_configs

with extra("train"):
    from absl import flags
    from ml_collections import config_flags

USAGE = "--config CONFIG [--workdir DIR] [--config.SECTION.FIELD=VALUE ...]"

# What --help shows for settings without a default value.
_WORDS: dict[Any, str] = {dataclasses.MISSING: "set by the config", None: "default: not given"}

_OTHER_FLAGS = (
    "  --config: a Python file with get_config(), or the name of a shipped config; its settings",
    "      override the defaults below, and --config.SECTION.FIELD=VALUE overrides both",
    "  --workdir: the run's folder; default: runs/NAME for a config NAME.py; an existing run",
    "      resumes",
    "  --coordinator_address=HOST:PORT (of process 0) --num_processes=N --process_id=I: each of",
    "      several processes that train together has all three",
)


@dataclasses.dataclass(frozen=True)
class Processes:
    """This process among several that train together; see `process.join_processes`."""

    coordinator_address: str
    num_processes: int
    process_id: int


def help_text() -> str:
    """Returns the usage, and every setting with its allowed values, default and meaning."""
    lines = [f"usage: python train.py {USAGE}", f"   or: python -m vqvae_jax train {USAGE}"]
    lines += ["", *_OTHER_FLAGS, "", "configs that ship:", *_wrapped(", ".join(shipped_configs()))]
    for section, kind in SECTIONS.items():
        summary, meanings = (kind.__doc__ or "").partition("\n")[0], kind.meanings()
        lines += ["", f"{section}: {summary}"]
        for field in dataclasses.fields(kind):
            allowed, default = field.metadata["rule"].allowed, f"default: {field.default}"
            default = _WORDS.get(field.default, default)
            lines.append(f"  --config.{section}.{field.name}: {allowed}; {default}")
            lines += _wrapped(meanings.get(field.name, ""))
    return "\n".join(lines)


def _wrapped(text: str) -> list[str]:
    indent = 6 * " "
    return textwrap.wrap(text, 96, initial_indent=indent, subsequent_indent=indent)


def parse(arguments: Sequence[str]) -> tuple[Config, Path, Processes | None]:
    """Reads the command line; call it once per process.

    Args:
        arguments: without the program's name.

    Returns:
        The validated config, the run's folder, and the processes if there are several.

    Raises:
        ConfigError: a flag, the config file or a setting is missing, unknown or out of its range.
    """
    for argument in arguments:
        if override := re.match(r"--?config\.([\w.]*)", argument):
            rule_of(override[1])
    try:
        config = config_flags.DEFINE_config_file("config", sys_argv=[*arguments])
        flags.FLAGS["config"].parser = ConfigFile("config")
        folder = flags.DEFINE_string("workdir", None, "The run's folder.")
        address = flags.DEFINE_string("coordinator_address", None, "HOST:PORT of process 0.")
        count = flags.DEFINE_integer("num_processes", None, "How many train together.", 1)
        number = flags.DEFINE_integer("process_id", None, "Which this one is, from 0.", 0)
        others = flags.FLAGS(["", *arguments])[1:]
        if not config.present:
            raise ConfigError(f"--config is missing (usage: {USAGE})")
        file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
        settings = config.value.to_dict()
    except Exception as error:  # a config file is Python: it may raise anything
        raise _explained(error) from error
    if others:
        raise ConfigError(f"{others[0]!r} is not a flag (usage: {USAGE})")
    workdir = Path(folder.value or Path("runs") / file.stem).expanduser()
    processes = _processes(address.value, count.value, number.value)
    return Config.from_dict(settings), workdir, processes


def _processes(address: str | None, count: int | None, number: int | None) -> Processes | None:
    if address is None and count is None and number is None:
        return None
    if address is None or count is None or number is None:
        raise ConfigError(
            "coordinator_address, num_processes and process_id must all be given, or none"
        )
    if not re.fullmatch(r".+:\d{1,5}", address):
        raise ConfigError(f"coordinator_address is {address!r}; it must be HOST:PORT")
    if number >= count:
        raise ConfigError(f"process_id is {number}; it must be from 0 to {count - 1}")
    return Processes(address, count, number)


def _explained(error: Exception) -> ConfigError:
    """Returns a one-line error for a failure between the command line and the config."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):  # ml_collections puts a traceback before its message
            return ConfigError(str(cause).rpartition("ConfigError: ")[2])
        cause = cause.__cause__ or cause.__context__
    message = str(error)
    if override := re.search(r"config\.([\w.]+)=(.*?): ", message):
        name, value = override.groups()
        return rule_of(name).refusal(name, value)
    section = message.strip().strip("'\"")  # of a setting that the file's config does not have
    if section in SECTIONS:
        return ConfigError(f"this config has no section {section} (usage: {USAGE})")
    last_line = message.strip().rpartition("\n")[2]
    return ConfigError(f"{last_line} (usage: {USAGE})")
