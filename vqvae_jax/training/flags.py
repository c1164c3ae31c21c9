"""The command line: --config FILE, --workdir DIR, --config.SECTION.FIELD=VALUE."""

import re
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from vqvae_jax.errors import ConfigError
from vqvae_jax.training.config import Config, rule_of, rules

USAGE = (
    "python train.py --config configs/mnist.py [--workdir DIR] [--config.SECTION.FIELD=VALUE ...]"
)

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment, such as configs/mnist.py."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; runs/<name of the config> if not given."
)


def help_text() -> str:
    """The usage, and every setting with what it may be."""
    settings = [f"  --config.{path}: {rule.allowed}" for path, rule in rules().items()]
    return "\n".join([f"usage: {USAGE}", "", "settings:", *settings])


def parse(argv: list[str]) -> tuple[Config, Path]:
    """The validated config and the run's folder.

    Args:
        argv: the program's name and its arguments.

    Raises:
        ConfigError: a flag, the config file or a setting is missing, unknown or out of its range.
    """
    for argument in argv[1:]:
        if override := re.match(r"--?config\.([\w.]*)", argument):
            rule_of(override[1])
    try:
        extra = flags.FLAGS(argv)[1:]
        if not _CONFIG.present:
            raise ConfigError(f"--config is missing (usage: {USAGE})")
        file = Path(config_flags.get_config_filename(flags.FLAGS["config"]))
        settings = _CONFIG.value.to_dict()
    except flags.IllegalFlagValueError as error:
        override = re.search(r"config\.([\w.]+)=(.*?): ", str(error))
        if override is None:
            raise ConfigError(str(error)) from error
        name, value = override.groups()
        raise ConfigError(f"{name} is {value!r}; it must be {rule_of(name).allowed}") from error
    except ConfigError:
        raise
    except flags.Error as error:
        raise ConfigError(f"{error} (usage: {USAGE})") from error
    except Exception as error:  # a config file is Python: it may raise anything
        raise ConfigError(f"--config cannot be used ({type(error).__name__}): {error}") from error
    if extra:
        raise ConfigError(f"{extra[0]!r} is not a flag (usage: {USAGE})")
    return Config.from_dict(settings), Path(_WORKDIR.value or Path("runs") / file.stem)
