"""CLIP, which is ours until it is fused, and MINIMUM, which clips floats in a file."""

import numpy as np

from keras_fastgrnn.graph.operators.kernels import binary
from keras_fastgrnn.graph.operators.operator import Arithmetic, Operator, register

register(Operator("CLIP", {"float32": Arithmetic(lambda op: lambda x: x)}, can_clip=True))
register(Operator("MINIMUM", {"float32": Arithmetic(lambda op: binary(op, np.minimum))}))
