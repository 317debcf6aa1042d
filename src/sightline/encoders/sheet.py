"""A graph as it is written down, node by node: what torch-free methods make ONNX from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TYPES = {"uint8": "UINT8", "uint16": "UINT16", "float32": "FLOAT"}


@dataclass(frozen=True)
class Sheet:
    """Nodes and constants so far."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(
        self, kind: str, inputs: str | Sequence[str], output: str, attributes: Mapping[str, Any] | None = None
    ) -> str:
        """A node with its inputs, named in one text or a list, and one output or several; returns the output."""
        from onnx import helper

        names = inputs.split() if isinstance(inputs, str) else list(inputs)
        self.nodes.append(helper.make_node(kind, names, output.split(), **(attributes or {})))
        # The prefix keeps the 8-bit writer away: rounded gradients would be worth nothing.
        self.nodes[-1].name = f"input.{output.split()[0]}"
        return output

    def constant(self, name: str, values: Any) -> str:
        """Numbers that nodes refer to by name, which is returned; floats become float32."""
        from onnx import numpy_helper

        array = np.asarray(values)
        self.constants.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
        return name


def declared(values: Sequence[tuple[str, str, Sequence[int | str]]]) -> list[Any]:
    """Inputs or outputs by name, dtype and shape without the free first axis B; other free axes by name."""
    from onnx import TensorProto, helper

    return [
        helper.make_tensor_value_info(name, getattr(TensorProto, TYPES[dtype]), ["B", *shape])
        for name, dtype, shape in values
    ]
