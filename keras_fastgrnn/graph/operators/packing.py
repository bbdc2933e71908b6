"""What runs a graph once a step over a whole sequence, in a file: these are in no graph."""

from keras_fastgrnn.graph.operators.operator import Operator, register


def _reshape_options(op, portable):
    return {"new_shape": op.output.shape} if portable else {}


def _while_options(op, portable):
    return {"cond_subgraph_index": op.condition, "body_subgraph_index": op.body}


register(Operator("LESS"))
register(Operator("RESHAPE", options_table="ReshapeOptions", options=_reshape_options))
register(Operator("WHILE", mixes_types=True, options_table="WhileOptions", options=_while_options))
