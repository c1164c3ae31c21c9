"""Vector quantizers for JAX, and VQ-VAEs, tokenizers and priors around them.

The public names are listed in __init__.pyi, where type checkers find them too. Each is loaded on
first use, so that importing the package is cheap.
"""

import importlib
from pathlib import Path
from typing import Any

# Maps each name to its module, and the names of those modules' packages to themselves.
_HOMES: dict[str, str] = {}
for _line in Path(__file__).with_suffix(".pyi").read_text().splitlines():
    match _line.split():
        case ["from", _home, "import", _name, "as", _]:
            _HOMES[_name] = _home
_MODULES = {_home.split(".")[1] for _home in _HOMES.values()}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    value: Any
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    elif name == "__version__":
        value = _version()
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOMES, *_MODULES, "__version__"])


def _version() -> str:
    from importlib import metadata

    try:
        return metadata.version(__name__)
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "unknown"
