"""Tiny TFLite files, written with the schema that LiteRT's package contains, without TensorFlow."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


class TFLiteWriter:
    """One subgraph, tensor by tensor and operator by operator."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes, self.model.metadata = [], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def buffer(self, data: bytes) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def tensor(
        self, name, shape, dtype="float32", *, values=None, scale=None, zero_point=0, signature=None
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name, list(shape), TYPES[dtype]
        tensor.shapeSignature = None if signature is None else list(signature)
        tensor.buffer = 0 if values is None else self.buffer(np.asarray(values).tobytes())
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(
        self, code, inputs, outputs, *, options_type=0, options=None, version=1, custom=None
    ) -> None:
        operator_code = schema.OperatorCodeT()
        operator_code.builtinCode = code
        operator_code.deprecatedBuiltinCode = min(code, 127)
        operator_code.version, operator_code.customCode = version, custom
        self.model.operatorCodes.append(operator_code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.graph.operators.append(operator)

    def reshape(self, source, target, shape) -> None:
        constant = self.tensor("shape", [len(shape)], "int32", values=np.array(shape, np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self.operator(
            schema.BuiltinOperator.RESHAPE,
            [source, constant],
            [target],
            options_type=schema.BuiltinOptions.ReshapeOptions,
            options=options,
        )

    def dense(self, source, target, weights, bias, version=1) -> None:
        self.operator(
            schema.BuiltinOperator.FULLY_CONNECTED,
            [source, weights, bias],
            [target],
            options_type=schema.BuiltinOptions.FullyConnectedOptions,
            options=schema.FullyConnectedOptionsT(),
            version=version,
        )

    def softmax(self, source, target, version=1) -> None:
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self.operator(
            schema.BuiltinOperator.SOFTMAX,
            [source],
            [target],
            options_type=schema.BuiltinOptions.SoftmaxOptions,
            options=options,
            version=version,
        )

    def metadata(self, name: str, text: str) -> None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name, self.buffer(text.encode())
        self.model.metadata.append(entry)

    def bytes(self, inputs, outputs) -> bytes:
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def dense_network(
    weights, bias, shape, *, softmax=False, flat_batch=-1, signature=None, metadata=None, outputs=1
) -> bytes:
    """`reshape(input) @ weights.T + bias`, perhaps with a softmax: float32 input of `shape` (1, …)."""
    writer = TFLiteWriter()
    k, d = weights.shape
    source = writer.tensor("image", shape, signature=signature)
    flat = writer.tensor("flat", [1, d])
    writer.reshape(source, flat, [flat_batch, d])
    logits = writer.tensor("logits", [1, k])
    writer.dense(
        flat,
        logits,
        writer.tensor("w", [k, d], values=weights.astype(np.float32)),
        writer.tensor("b", [k], values=bias.astype(np.float32)),
    )
    last = logits
    if softmax:
        last = writer.tensor("probabilities", [1, k])
        writer.softmax(logits, last)
    if metadata is not None:
        writer.metadata("fer_models", metadata)
    return writer.bytes([source], [last] if outputs == 1 else [logits, last])


def quantized_network(weights, bias, shape, dtype, *, source, weight_scale, target) -> bytes:
    """As `dense_network`, in integers; `source` and `target` are (scale, zero_point)."""
    writer = TFLiteWriter()
    k, d = weights.shape
    image = writer.tensor("image", shape, dtype, scale=source[0], zero_point=source[1])
    flat = writer.tensor("flat", [1, d], dtype, scale=source[0], zero_point=source[1])
    writer.reshape(image, flat, [-1, d])
    logits = writer.tensor("logits", [1, k], dtype, scale=target[0], zero_point=target[1])
    middle = 128 if dtype == "uint8" else 0
    values = (weights + middle).astype(dtype)
    w = writer.tensor("w", [k, d], dtype, values=values, scale=weight_scale, zero_point=middle)
    b = writer.tensor("b", [k], "int32", values=bias.astype(np.int32), scale=source[0] * weight_scale)
    writer.dense(flat, logits, w, b, 4 if dtype == "int8" else 2)
    return writer.bytes([image], [logits])
