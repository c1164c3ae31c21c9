"""model.safetensors: every variable of a model by its path, such as encoder.convs.0.kernel."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from vqvae_jax.errors import CheckpointError


def variables_file(model: nnx.Module) -> bytes:
    """Returns the content of a safetensors file with every variable of a model.

    Types are kept. Keys of random numbers, which such files do not know, are stored as their data.
    """
    arrays = {
        name: np.asarray(_data(variable.get_value()), order="C")
        for name, variable in _named(nnx.state(model)).items()
    }
    return safetensors.numpy.save(arrays, {"format": "flax"})


def with_variables(model: nnx.Module, file: Path) -> Any:
    """Returns a model with the variables of a file, which must be its own and no others.

    Args:
        model: its variables may be shapes and types alone, as from `nnx.eval_shape`.
        file: as from `variables_file`.

    Raises:
        CheckpointError: the file is no such file, is damaged, or holds other variables. Nothing of
            a size that only the file or only the model claims is allocated.
    """
    graphdef, state = nnx.split(model)
    expected = _named(state)
    kinds = {
        name: jax.eval_shape(_data, variable.get_value()) for name, variable in expected.items()
    }
    arrays = _read(file, kinds)
    for name, variable in expected.items():
        value, array = variable.get_value(), jnp.asarray(arrays[name])
        if _is_key(value):
            impl = jax.random.key_impl(jnp.empty((), value.dtype))
            array = jax.random.wrap_key_data(array, impl=impl)
        variable.set_value(array)
    return nnx.merge(graphdef, state)


def _read(file: Path, kinds: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, np.ndarray]:
    """Returns the arrays of a file, which must have given shapes and types."""
    try:
        with safetensors.safe_open(file, framework="numpy") as stored:
            names = stored.keys()
            shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in names}
            for name, kind in kinds.items():
                if name not in shapes:
                    raise CheckpointError(f"{file} has no {name}; it must be {_said(kind)}")
                if shapes[name] != kind.shape:
                    raise CheckpointError(
                        f"{file} holds {name} as {shapes[name]}; it must be {_said(kind)}"
                    )
            for name, shape in shapes.items():
                if name not in kinds:
                    raise CheckpointError(
                        f"{file} holds {name!r} as {shape}, which the model does not have"
                    )
            arrays = {name: stored.get_tensor(name) for name in kinds}
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{file} is missing") from error
    except Exception as error:  # safetensors, NumPy and the system each raise their own kinds
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{file} is no safetensors file, or is damaged: {reason}") from error
    for name, kind in kinds.items():
        if arrays[name].dtype != kind.dtype:
            raise CheckpointError(
                f"{file} holds {name} as {_said(arrays[name])}; it must be {_said(kind)}"
            )
    return arrays


def _named(state: nnx.State) -> dict[str, Any]:
    """Returns the variables of a state by their path."""
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _data(value: Any) -> Any:
    """Returns an array, or the data of keys."""
    return jax.random.key_data(value) if _is_key(value) else value


def _said(value: Any) -> str:
    return f"{value.dtype} {value.shape}"
