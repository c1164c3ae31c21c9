"""Files of TensorFlow Lite: the operators of a graph, and the constants that they take."""

import dataclasses
import math
from typing import Any

import numpy as np

from vqvae_jax.errors import DamagedError, UnsupportedError
from vqvae_jax.extras import extra

with extra("lyra"):
    import tflite

_IDENTIFIER = b"TFL3"
_DTYPES = {
    tflite.TensorType.FLOAT32: "<f4",
    tflite.TensorType.INT32: "<i4",
    tflite.TensorType.INT8: "<i1",
}
_KINDS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if name.isupper()}


@dataclasses.dataclass(frozen=True)
class Operand:
    """An input or an output of an operator.

    Attributes:
        name: its name in the graph.
        constant: its value, float32, int32 or int8; None: it is computed.
        scale: of its integers, for each channel or for all; empty: it has real numbers.
        zero_point: likewise.
    """

    name: str
    constant: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray


@dataclasses.dataclass(frozen=True)
class Operator:
    """An operator of a graph.

    Attributes:
        kind: its name in the format, such as CONV_2D.
        inputs: the operands that it takes; without those that it could have and has not.
        outputs: what it computes.
    """

    kind: str
    inputs: list[Operand]
    outputs: list[Operand]


def read_operators(content: bytes) -> list[Operator]:
    """Returns the operators of the first graph of a file, in its order.

    Raises:
        DamagedError: a part would lie outside of the file.
        UnsupportedError: it is no file of this format.
        Exception: it is damaged.
    """
    if content[4:8] != _IDENTIFIER:
        raise UnsupportedError("it is no file of TensorFlow Lite")
    model = tflite.Model.GetRootAs(content, 0)
    if model.SubgraphsLength() < 1:
        raise DamagedError("it has no graph")
    graph = model.Subgraphs(0)
    # Each takes at least 4 bytes: a number of them that the file has no room for is not counted to.
    for name, count in (("operators", graph.OperatorsLength()), ("tensors", graph.TensorsLength())):
        if count > len(content) // 4:
            raise DamagedError(f"it would have {count} {name}")
    operands: dict[int, Operand] = {}

    def operand(index: int) -> Operand:
        if not 0 <= index < graph.TensorsLength():
            raise DamagedError(f"an operator takes tensor {index} of {graph.TensorsLength()}")
        if index not in operands:
            operands[index] = _operand(model, graph.Tensors(index))
        return operands[index]

    operators = []
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex())
        inputs = operator.InputsAsNumpy() if operator.InputsLength() else ()
        outputs = operator.OutputsAsNumpy() if operator.OutputsLength() else ()
        operators.append(
            Operator(
                _KINDS.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "unknown"),
                [operand(int(index)) for index in inputs if index != -1],
                [operand(int(index)) for index in outputs],
            )
        )
    return operators


def _operand(model: Any, tensor: Any) -> Operand:
    name = tensor.Name().decode()
    shape = [int(size) for size in tensor.ShapeAsNumpy()] if tensor.ShapeLength() else []
    stored = model.Buffers(tensor.Buffer())
    constant = None
    if stored.DataLength() and tensor.Type() in _DTYPES:
        dtype = np.dtype(_DTYPES[tensor.Type()])
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != stored.DataLength():
            raise DamagedError(
                f"{name!r:.100} has {stored.DataLength()} bytes, which is not {dtype.name} of "
                f"{shape!s:.100}"
            )
        constant = np.frombuffer(stored.DataAsNumpy().tobytes(), dtype).reshape(shape)
    given = tensor.Quantization()
    if given is None or not given.ScaleLength():
        return Operand(name, constant, np.zeros(0, np.float32), np.zeros(0, np.int32))
    scale = given.ScaleAsNumpy().astype(np.float32)
    zero_point = np.zeros(len(scale), np.int64)
    if given.ZeroPointLength():
        zero_point = given.ZeroPointAsNumpy()
    if len(zero_point) != len(scale) or not (np.isfinite(scale) & (scale > 0)).all():
        raise DamagedError(f"the scales of {name!r:.100} are no positive numbers, one a zero point")
    if (np.abs(zero_point) > 128).any():
        raise DamagedError(f"the zero points of {name!r:.100} are no integers of 8 bits")
    return Operand(name, constant, scale, zero_point.astype(np.int32))
