"""Config files: the user's own, and those that ship with the package, by name."""

import importlib
import sys
import types
from pathlib import Path
from typing import Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.extras import extra

with extra("train"):
    from ml_collections.config_flags.config_flags import ConfigFileFlagParser

# A wheel has them inside the package, a clone beside it.
_PACKAGE = Path(__file__).parents[1]
_SHIPPED = _PACKAGE / "configs"
if not _SHIPPED.is_dir():
    _SHIPPED = _PACKAGE.parent / "configs"


def shipped_configs() -> list[str]:
    """Returns the names of the configs that ship with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.py"))


class ConfigFile(ConfigFileFlagParser):
    """Reads a config, and explains why a file is not one."""

    def parse(self, given: str) -> Any:
        """Reads a config.

        Args:
            given: a Python file, or the name of a config that ships with the package; optionally
                with `:ARGUMENT` for its get_config.

        Raises:
            ConfigError: it is neither, or not a config.
        """
        name, *argument = given.split(":", 1)
        if not Path(name).is_file() and name in shipped_configs():
            name = str(_SHIPPED / f"{name}.py")
        try:
            Path(name).read_bytes()
        except OSError as error:
            shipped = f"; the configs that ship are {', '.join(shipped_configs())}"
            known = shipped if name.isidentifier() else ""
            raise ConfigError(f"{given} cannot be read: {error.strerror}{known}") from error
        _make_importable()
        try:
            config = super().parse(":".join([name, *argument]))
            config.to_dict()
        except Exception as error:  # a config file is Python: it may raise anything
            reason: BaseException = error
            if isinstance(error, OSError | TypeError | ValueError):  # as ml_collections wraps them
                reason = error.__cause__ or error.__context__ or error
            if isinstance(reason, ConfigError):
                raise reason from error
            raise ConfigError(
                f"{given} is not a config: it must be Python with get_config(), which returns a "
                f"ConfigDict ({type(reason).__name__}: {reason})"
            ) from error
        return config


def _make_importable() -> None:
    """Makes `from configs import NAME` find the shipped ones after the user's own."""
    try:
        places = importlib.import_module("configs").__path__
    except (ModuleNotFoundError, AttributeError):  # there is none, or it is not a folder
        package = sys.modules["configs"] = types.ModuleType("configs")
        package.__path__ = places = []
    if str(_SHIPPED) not in places:
        places.append(str(_SHIPPED))
