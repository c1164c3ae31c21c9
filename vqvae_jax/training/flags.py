"""The command line: --config FILE, --workdir DIR, --config.SECTION.FIELD=VALUE."""

import re
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config, rule_of, rules

USAGE = (
    "python train.py --config configs/mnist.py [--workdir DIR] [--config.SECTION.FIELD=VALUE ...]"
)


def help_text() -> str:
    """The usage, and every setting with what it may be."""
    settings = [f"  --config.{path}: {rule.allowed}" for path, rule in rules().items()]
    return "\n".join([f"usage: {USAGE}", "", "settings:", *settings])


def parse() -> tuple[Config, Path]:
    """The validated config and the run's folder, from the arguments of the process; once a process.

    Raises:
        ConfigError: a flag, the config file or a setting is missing, unknown or out of its range.
    """
    for argument in sys.argv[1:]:
        if override := re.match(r"--?config\.([\w.]*)", argument):
            rule_of(override[1])
    try:
        config = config_flags.DEFINE_config_file("config")  # looks at the arguments already
        folder = flags.DEFINE_string("workdir", None, "The run's folder.")
        extra = flags.FLAGS(sys.argv)[1:]
        if not config.present:
            raise ConfigError(f"--config is missing (usage: {USAGE})")
        file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
        settings = config.value.to_dict()
    except Exception as error:  # a config file is Python: it may raise anything
        raise _explained(error) from error
    if extra:
        raise ConfigError(f"{extra[0]!r} is not a flag (usage: {USAGE})")
    workdir = Path(folder.value or Path("runs") / file.stem).expanduser()
    return Config.from_dict(settings), workdir


def _explained(error: Exception) -> ConfigError:
    """One line for what went wrong between the command line and the config."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):  # ml_collections puts a traceback before its message
            return ConfigError(str(cause).rpartition("ConfigError: ")[2])
        cause = cause.__cause__ or cause.__context__
    message = str(error)
    if override := re.search(r"config\.([\w.]+)=(.*?): ", message):
        name, value = override.groups()
        return ConfigError(f"{name} is {value!r}; it must be {rule_of(name).allowed}")
    section = message.strip().strip("'\"")  # of a setting that the file's config has not
    if section in {path.partition(".")[0] for path in rules()}:
        return ConfigError(f"this config has no section {section} (usage: {USAGE})")
    last_line = message.strip().rpartition("\n")[2]
    return ConfigError(f"{last_line} (usage: {USAGE})")
