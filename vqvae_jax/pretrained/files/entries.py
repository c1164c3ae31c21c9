"""Where in a file's content the state dict is."""

from collections.abc import Sequence
from typing import Any

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.pretrained.files.pickles import Inert, holds
from vqvae_jax.pretrained.files.torch_tensors import Storage, Tensor

# A module that contains itself would have names without end.
_MAX_NAME, _MAX_ENTRIES = 1000, 2**17

_MODULE = ("_parameters", "_buffers", "_modules")


def entry(content: Any, keys: Sequence[str]) -> Any:
    """Returns the content of the first key that it has, or all of it if it has none.

    Args:
        content: what a file holds.
        keys: names of entries that may be a state dict.
    """
    if isinstance(content, dict):
        for key in keys:
            if isinstance(content.get(key), dict | Inert):
                return content[key]
    return content


def tensors(content: Any) -> dict[str, Tensor]:
    """Returns the tensors of a state dict, or of a whole module.

    Args:
        content: the value of a pickle, or an entry of it.

    Raises:
        DamagedError: a module's names do not end.
        UnsupportedError: there is no tensor, or one that only a call could make.
    """
    if _is_module(content):
        return _of_module(content)
    if isinstance(content, Inert) and content.entries:
        content = content.entries  # of a class derived from dict
    if isinstance(content, Inert):
        raise UnsupportedError(f"it holds a {content.name!r:.100}, and code is not run")
    if not isinstance(content, dict):
        raise UnsupportedError(f"it holds a {type(content).__name__}, not a state dict")
    found = _of_entries(content, "", set())
    if not found:
        raise no_state_dict(content)
    return found


def no_state_dict(content: dict[Any, Any]) -> UnsupportedError:
    """Returns the error that says which keys there are."""
    keys = ", ".join(f"{key!r:.100}" for key in content if isinstance(key, str))
    return UnsupportedError(f"no entry is an array; its keys are: {keys:.500}")


def _of_entries(entries: dict[Any, Any], prefix: str, seen: set[int]) -> dict[str, Tensor]:
    found = {}
    for name, value in entries.items():
        if isinstance(value, Tensor) and isinstance(name, str | int):
            found[f"{prefix}{name}"] = value
        elif isinstance(value, Inert) and holds(value, (Storage, Tensor), seen):
            where = f" in {prefix!r:.100}" if prefix else ""
            raise UnsupportedError(
                f"{name!r:.100}{where} is made by {value.name!r:.100}, and code is not run"
            )
    return found


def _is_module(value: Any) -> bool:
    """Whether a value is an object with the attributes of a torch.nn.Module."""
    return (
        isinstance(value, Inert)
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(name), dict) for name in _MODULE)
    )


def _of_module(module: Any) -> dict[str, Tensor]:
    """The tensors as Module.state_dict has them: parameters, buffers, and those of submodules."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    todo, count = [("", module)], 0
    while todo:
        prefix, current = todo.pop()
        if len(prefix) > _MAX_NAME:
            raise DamagedError("its modules contain each other")
        parameters, buffers, modules = (current.state[name] for name in _MODULE)
        count += 1 + len(parameters) + len(buffers) + len(modules)
        if count > _MAX_ENTRIES:
            raise DamagedError(f"its modules have over {_MAX_ENTRIES} entries")
        passing = current.state.get("_non_persistent_buffers_set") or ()
        children = {name: child for name, child in modules.items() if _is_module(child)}
        own = {
            name: value
            for name, value in [*parameters.items(), *buffers.items(), *modules.items()]
            if name not in passing and name not in children
        }
        found |= _of_entries(own, prefix, seen)
        todo += reversed([(f"{prefix}{name}.", child) for name, child in children.items()])
    return found
