"""Config files: the user's own, and those that ship with the package, by name."""

import importlib
import sys
import types
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

from vqvae_jax.errors import ConfigError
from vqvae_jax.extras import extra

# A wheel has them inside the package, a clone beside it.
_PACKAGE = Path(__file__).parents[1]
_SHIPPED = _PACKAGE / "configs"
if not _SHIPPED.is_dir():
    _SHIPPED = _PACKAGE.parent / "configs"


def shipped_configs() -> list[str]:
    """Returns the names of the configs that ship with the package."""
    return sorted(path.stem for path in _SHIPPED.glob("*.py"))


def read_config(given: str) -> tuple[dict[str, Any], str]:
    """Reads a config, and explains why a file is not one.

    Args:
        given: a Python file, or the name of a config that ships with the package; optionally with
            `:ARGUMENT` for its get_config.

    Returns:
        Its settings as nested dictionaries, and its name.

    Raises:
        ConfigError: it is neither, or not a config.
    """
    name, *argument = given.split(":", 1)
    file = Path(name)
    if not file.is_file() and name in shipped_configs():
        file = _SHIPPED / f"{name}.py"
    try:
        file.read_bytes()
    except OSError as error:
        shipped = f"; the configs that ship are {', '.join(shipped_configs())}"
        known = shipped if name.isidentifier() else ""
        raise ConfigError(f"{given} cannot be read: {error.strerror}{known}") from error
    with extra("train"):
        import ml_collections  # noqa: F401  as configs do
    _make_importable()
    try:
        return _module(file).get_config(*argument).to_dict(), file.stem
    except ConfigError:
        raise
    except Exception as error:  # a config file is Python: it may raise anything
        raise ConfigError(
            f"{given} is not a config: it must be Python with get_config(), which returns a "
            f"ConfigDict ({type(error).__name__}: {error})"
        ) from error


def _module(file: Path) -> Any:
    """Runs a Python file, whatever its suffix, and returns its module."""
    loader = SourceFileLoader("config", str(file))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _make_importable() -> None:
    """Makes `from configs import NAME` find the shipped ones after the user's own.

    Modules in the current folder are found too, for components of the user's own.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        places = importlib.import_module("configs").__path__
    except (ModuleNotFoundError, AttributeError):  # there is none, or it is not a folder
        package = sys.modules["configs"] = types.ModuleType("configs")
        package.__path__ = places = []
    if str(_SHIPPED) not in places:
        places.append(str(_SHIPPED))
