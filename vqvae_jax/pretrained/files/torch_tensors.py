"""PyTorch's tensors, as its pickles describe them: views of storages that lie beside the pickle."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.pretrained.files.pickles import Global, Inert

_STORAGES = {
    "BFloat16Storage": jnp.bfloat16,
    "BoolStorage": np.bool_,
    "ByteStorage": np.uint8,
    "CharStorage": np.int8,
    "ComplexDoubleStorage": np.complex128,
    "ComplexFloatStorage": np.complex64,
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "IntStorage": np.int32,
    "LongStorage": np.int64,
    "ShortStorage": np.int16,
}
# Types without a storage of their own: the tensor says which it is.
_UNTYPED = "UntypedStorage"
_DTYPES = {
    "float8_e4m3fn": jnp.float8_e4m3fn,
    "float8_e4m3fnuz": jnp.float8_e4m3fnuz,
    "float8_e5m2": jnp.float8_e5m2,
    "float8_e5m2fnuz": jnp.float8_e5m2fnuz,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}

# Views may overlap and repeat elements, but not be a way to fill the memory.
_MAX_GROWTH = 8


@dataclasses.dataclass(eq=False, frozen=True, slots=True)
class Storage:
    """Bytes in a file.

    Attributes:
        key: the storage's name in the file.
        dtype: the type of its elements.
        size: how many bytes it has.
    """

    key: str
    dtype: np.dtype
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Tensor:
    """A view of a storage: offset and strides count elements."""

    key: str
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """The elements' size."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def end(self) -> int:
        """The first byte of the storage after the last element."""
        if 0 in self.shape:
            return 0
        steps = zip(self.shape, self.strides, strict=True)
        last = self.offset + sum((size - 1) * stride for size, stride in steps)
        return (last + 1) * self.dtype.itemsize


def storage(identifier: Any) -> Any:
    """Returns the storage, or the class, that a persistent id stands for."""
    match identifier:
        case ("storage", Global(name), str(key), _, int(length), *view) if length >= 0:
            if view not in ([], [None]):
                raise UnsupportedError(f"its storage {key!r:.100} is a view of another")
            kind = name.rpartition(".")[2]
            if not name.startswith("torch.") or kind not in (*_STORAGES, _UNTYPED):
                raise UnsupportedError(f"it has storages of {name!r:.100}")
            dtype = np.dtype(_STORAGES.get(kind, np.uint8))
            return Storage(key, dtype, length * dtype.itemsize)
        case ("module", Global() as kind, *_):  # with its source, which is not read
            return kind
    raise UnsupportedError("it has a persistent id that is not a storage's")


def _tensor(*arguments: Any, dtype: np.dtype | None = None) -> Tensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            pass
        case _:
            raise DamagedError("it has a tensor without a storage, an offset, a shape and strides")
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(n) is int and n >= 0 for n in numbers):
        raise DamagedError("it has a tensor whose offset, shape or strides are no sizes")
    tensor = Tensor(storage.key, dtype or storage.dtype, offset, shape, strides)
    if tensor.end > storage.size:
        raise DamagedError(f"a tensor ends at byte {tensor.end} of a storage of {storage.size}")
    return tensor


def _tensor_of_type(*arguments: Any) -> Tensor:
    match arguments:
        case (_, _, _, _, _, _, Global(name), *_):
            pass
        case _:
            raise DamagedError("it has a tensor without a type")
    if name.removeprefix("torch.") not in _DTYPES:
        raise UnsupportedError(f"it has tensors of {name!r:.100}")
    return _tensor(*arguments[:4], dtype=np.dtype(_DTYPES[name.removeprefix("torch.")]))


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _subclass(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor with attributes, which are dropped, or of a subclass, which is not supported."""
    match function, kind:
        case Global(name), Global("torch.Tensor" | "torch.nn.parameter.Parameter") if name in CALLS:
            return CALLS[name](*arguments)
        case _, Global(name):
            return Inert(name, arguments)
    raise DamagedError("it has a tensor of no class")


def _dictionary(*entries: Any) -> Any:
    """An OrderedDict: of entries only in pickles of Python 2."""
    match entries:
        case ():
            return {}
        case (list(pairs),) if all(isinstance(pair, list | tuple) for pair in pairs):
            return {key: value for key, value in pairs if isinstance(key, str)}
    return Inert("collections.OrderedDict", entries)


def _set(*elements: Any) -> Any:
    """The elements of a set, as they are written."""
    match elements:
        case (list(values),):
            return values
    return Inert("builtins.set", elements)


CALLS: dict[str, Callable[..., Any]] = {
    "__builtin__.set": _set,
    "builtins.set": _set,
    "collections.OrderedDict": _dictionary,
    "torch.Size": lambda *sizes: tuple(*sizes),
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_type,
}


def read_tensors(
    tensors: Mapping[str, Tensor], read: Callable[[str], np.ndarray], file_size: int
) -> dict[str, np.ndarray]:
    """Returns tensors as arrays; those that are the same view are the same array.

    Args:
        tensors: by name.
        read: returns a new uint8 array of the bytes of the storage of a key.
        file_size: how many bytes the file has.

    Raises:
        DamagedError: they need more than a multiple of the file's size.
    """
    views = dict.fromkeys(tensors.values())
    if (total := sum(view.num_bytes for view in views)) > _MAX_GROWTH * file_size:
        raise DamagedError(f"its tensors take {total} bytes, of a file of {file_size}")
    by_storage: dict[str, list[Tensor]] = {}
    for view in views:
        by_storage.setdefault(view.key, []).append(view)
    arrays: dict[Tensor, np.ndarray] = {}
    for key, of_storage in by_storage.items():
        content = read(key)
        arrays |= {view: _array(view, content) for view in of_storage}
    return {name: arrays[tensor] for name, tensor in tensors.items()}


def _array(tensor: Tensor, content: np.ndarray) -> np.ndarray:
    """A contiguous array, which keeps the storage only if it is all of it."""
    if 0 in tensor.shape:
        return np.empty(tensor.shape, tensor.dtype)
    size = tensor.dtype.itemsize
    # the stride of an axis of one element may be any number
    steps = zip(tensor.shape, tensor.strides, strict=True)
    strides = tuple(stride * size if length > 1 else 0 for length, stride in steps)
    start = content[tensor.offset * size : tensor.end]
    view = np.ndarray(tensor.shape, tensor.dtype, start, strides=strides)
    if view.flags.c_contiguous and view.nbytes == content.nbytes:
        return view
    return view.copy(order="C")
