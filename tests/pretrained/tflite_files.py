"""Writes small files of TensorFlow Lite, with the package that reads them."""

import flatbuffers
import numpy as np
import tflite

TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "int32": tflite.TensorType.INT32,
    "int8": tflite.TensorType.INT8,
}


class Graph:
    """Tensors, by their places, and operators."""

    def __init__(self):
        self.tensors, self.operators = [], []

    def tensor(self, name, constant=None, scale=(), zero_point=()):
        self.tensors.append((name, constant, scale, zero_point))
        return len(self.tensors) - 1

    def operator(self, kind, inputs, outputs):
        self.operators.append((getattr(tflite.BuiltinOperator, kind), inputs, outputs))

    def content(self):
        """The file."""
        builder = flatbuffers.Builder()
        empty = self._buffer(builder, None)
        buffers = [empty] + [self._buffer(builder, one[1]) for one in self.tensors]
        tensors = [self._tensor(builder, place + 1, *one) for place, one in enumerate(self.tensors)]
        kinds = sorted({kind for kind, _, _ in self.operators})
        codes = []
        for kind in kinds:
            tflite.OperatorCodeStart(builder)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, kind)
            tflite.OperatorCodeAddBuiltinCode(builder, kind)
            codes.append(tflite.OperatorCodeEnd(builder))
        operators = []
        for kind, inputs, outputs in self.operators:
            places = [builder.CreateNumpyVector(np.asarray(x, np.int32)) for x in (inputs, outputs)]
            tflite.OperatorStart(builder)
            tflite.OperatorAddOpcodeIndex(builder, kinds.index(kind))
            tflite.OperatorAddInputs(builder, places[0])
            tflite.OperatorAddOutputs(builder, places[1])
            operators.append(tflite.OperatorEnd(builder))
        tensors, operators, buffers, codes = (
            self._table(builder, parts) for parts in (tensors, operators, buffers, codes)
        )
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddOperators(builder, operators)
        graphs = self._table(builder, [tflite.SubGraphEnd(builder)])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        return bytes(builder.Output())

    @staticmethod
    def _table(builder, parts):
        builder.StartVector(4, len(parts), 4)
        for part in reversed(parts):
            builder.PrependUOffsetTRelative(part)
        return builder.EndVector()

    @staticmethod
    def _buffer(builder, constant):
        data = None
        if constant is not None:
            data = builder.CreateByteVector(np.ascontiguousarray(constant).tobytes())
        tflite.BufferStart(builder)
        if data is not None:
            tflite.BufferAddData(builder, data)
        return tflite.BufferEnd(builder)

    @staticmethod
    def _tensor(builder, buffer, name, constant, scale, zero_point):
        text = builder.CreateString(name)
        shape = builder.CreateNumpyVector(np.asarray(np.shape(constant), np.int32))
        grid = None
        if len(scale):
            scales = builder.CreateNumpyVector(np.asarray(scale, np.float32))
            zeros = builder.CreateNumpyVector(np.asarray(zero_point, np.int64))
            tflite.QuantizationParametersStart(builder)
            tflite.QuantizationParametersAddScale(builder, scales)
            tflite.QuantizationParametersAddZeroPoint(builder, zeros)
            grid = tflite.QuantizationParametersEnd(builder)
        kind = "int8" if len(scale) else "float32"
        if constant is not None:
            kind = constant.dtype.name
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, TYPES[kind])
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, text)
        if grid is not None:
            tflite.TensorAddQuantization(builder, grid)
        return tflite.TensorEnd(builder)
