"""The exported file, read by TensorFlow's own interpreter and by TFLite Micro's schema."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from graphs import chain, constant, evaluate, fastrnn_step, value
from small_models import needs_tflm, sequences, sequential

from keras_fastgrnn import FastGRNN, FastGRNNCell, FastRNN, export, keras
from keras_fastgrnn.export.tflite.subgraphs import sequence
from keras_fastgrnn.export.tflite.write import write, write_subgraphs
from keras_fastgrnn.export.tflm.interpreter import Interpreter
from keras_fastgrnn.graph.graph import Graph, Op

pytestmark = pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
FULL = "FULLY_CONNECTED"

MODELS = {
    "FastGRNN": lambda: [FastGRNN(5), keras.layers.Dense(2)],
    "no head": lambda: [FastRNN(5)],
    "softmax": lambda: [FastRNN(5), keras.layers.Dense(3, activation="softmax")],
    "hard": lambda: [FastGRNN(5, "quant_tanh", "quant_sigmoid"), keras.layers.Dense(2, "relu")],
    "low rank": lambda: [FastGRNN(5, kernel_rank=2, recurrent_rank=2), keras.layers.Dense(2)],
    "stacked": lambda: [keras.layers.RNN([FastGRNNCell(4), FastGRNNCell(3)])],
}


@pytest.fixture(scope="module")
def deployed():
    """Exported models by name and quantization, made once."""
    made = {}

    def get(name, quantization):
        if (name, quantization) not in made:
            model = sequential(*MODELS[name]())
            x = sequences()
            made[name, quantization] = export.convert(model, x, quantization=quantization)
        return made[name, quantization]

    return get


class Opened:
    """A file as `tf.lite.Interpreter` reads it, without running it."""

    def __init__(self, data):
        interpreter = tf.lite.Interpreter(model_content=data)
        self.tensors = {t["index"]: t for t in interpreter.get_tensor_details()}
        self.operators = interpreter._get_ops_details()
        (self.input,) = interpreter.get_input_details()
        (self.output,) = interpreter.get_output_details()

    def kinds(self):
        return [operator["op_name"] for operator in self.operators]

    def scale(self, index):
        (scale,) = self.tensors[index]["quantization_parameters"]["scales"]
        return float(scale)

    def operands(self, kind):
        return [
            (list(o["inputs"]), o["outputs"][0]) for o in self.operators if o["op_name"] == kind
        ]


each_model = pytest.mark.parametrize("name", MODELS)


@each_model
def test_integer_file_has_the_types_and_scales_that_tflite_micro_wants(deployed, name):
    file = Opened(deployed(name, "int16x8").tflite)
    dtypes = {index: tensor["dtype"].__name__ for index, tensor in file.tensors.items()}
    assert dtypes[file.input["index"]] == dtypes[file.output["index"]] == "int16"
    assert set(dtypes.values()) == {"int16", "int8", "int64"}
    for tensor in file.tensors.values():
        assert tensor["quantization_parameters"]["zero_points"].tolist() == [0]
        assert len(tensor["quantization_parameters"]["scales"]) == 1

    for (x, weights, *bias), output in file.operands(FULL):
        assert (dtypes[x], dtypes[weights], dtypes[output]) == ("int16", "int8", "int16")
        assert [dtypes[index] for index in bias] in ([], ["int64"])
        for index in bias:
            product = np.float32(file.scale(x)) * np.float32(file.scale(weights))
            assert np.float32(file.scale(index)) == product
    for kind in ("LOGISTIC", "TANH", "SOFTMAX"):
        assert {file.scale(output) for _, output in file.operands(kind)} <= {2.0**-15}

    readers, producer = collections.defaultdict(set), {}
    for operator in file.operators:
        producer[operator["outputs"][0]] = operator["op_name"]
        for index in operator["inputs"]:
            readers[index].add(operator["op_name"])
    for index, dtype in dtypes.items():
        made = producer.get(index, FULL)
        between_matrices = readers[index] and readers[index] <= {FULL, "CONCATENATION"}
        if dtype == "int16" and not (made == FULL and between_matrices):
            assert np.frexp(file.scale(index))[0] == 0.5, "not a power of two"


@each_model
def test_float_file_is_float_alone(deployed, name):
    file = Opened(deployed(name, None).tflite)
    assert {tensor["dtype"] for tensor in file.tensors.values()} == {np.float32}
    for tensor in file.tensors.values():
        assert len(tensor["quantization_parameters"]["scales"]) == 0


@each_model
@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_operators_in_the_file_are_those_of_the_report_and_no_tensor_has_a_name(
    deployed, name, quantization
):
    made = deployed(name, quantization)
    file = Opened(made.tflite)
    kinds = file.kinds()
    assert {kind: kinds.count(kind) for kind in kinds} == made.report.operators
    assert {tensor["name"] for tensor in file.tensors.values()} == {""}
    assert list(file.input["shape"]) == [1, 3]
    assert list(file.output["shape"]) == [1, made.graph.outputs[0].shape[-1]]


@each_model
@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_each_state_is_a_tensor_that_one_operator_writes_last(deployed, name, quantization):
    made = deployed(name, quantization)
    file = Opened(made.tflite)
    writers = collections.Counter(o["outputs"][0] for o in file.operators)
    assert set(writers.values()) == {1}
    seen, states = set(), []
    for operator in file.operators:
        seen.update(operator["inputs"])
        if operator["outputs"][0] in seen:  # read in this step before it is written
            states.append(operator["outputs"][0])
    assert len(states) == len(made.graph.states)
    expected = sorted(state.before.shape for state in made.graph.states)
    assert sorted(tuple(file.tensors[index]["shape"]) for index in states) == expected


@needs_tflm
@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_schema_of_tflite_micro_finds_the_variables_and_the_builtin_codes(deployed, quantization):
    from tflite_micro.tensorflow.lite.micro.python import schema_py_generated as schema

    made = deployed("stacked", quantization)
    model = schema.ModelT.InitFromPackedBuf(made.tflite)
    (subgraph,) = model.subgraphs
    variables = [index for index, tensor in enumerate(subgraph.tensors) if tensor.isVariable]
    assert len(variables) == 2
    for index in variables:
        assert model.buffers[subgraph.tensors[index].buffer].data is None
    assert model.version == 3
    assert not (model.description or model.metadata or model.signatureDefs)
    codes = {code.builtinCode for code in model.operatorCodes}
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    assert {names[code] for code in codes} == made.report.operators.keys()
    assert len(model.operatorCodes) == len(codes)


@each_model
@pytest.mark.parametrize("quantization", ["int16x8", None])
def test_constants_in_the_file_are_those_of_the_model(deployed, name, quantization):
    made = deployed(name, quantization)
    constants = [t for t in made.graph.tensors() if t.is_constant]
    for tensor in constants:
        data = tensor.data.astype(tensor.dtype).tobytes()
        assert data in made.tflite


# Size


def random_models(units, channels, **ranks):
    for seed in range(20):
        layers = FastGRNN(units, **ranks), keras.layers.Dense(2)
        model = sequential(*layers, channels=channels, seed=seed, spread=0.2)
        yield model, sequences(8, channels=channels)


def test_file_of_9_channels_16_units_and_2_classes_is_small():
    for model, x in random_models(16, 9):
        deployed = export.convert(model, x)
        whole = sequence(deployed.graph, 128, every_step=False, explicit=False)
        assert len(deployed.tflite) <= 2000
        assert len(write_subgraphs(whole)) <= 2832
        assert len(export.convert(model, quantization=None).tflite) <= 2992


@pytest.mark.filterwarnings("ignore::keras_fastgrnn.export.PrecisionWarning")
def test_int8_file_of_9_channels_16_units_and_2_classes_is_small():
    for model, x in random_models(16, 9):
        assert len(export.convert(model, x, quantization="int8").tflite) <= 2056


def test_file_of_low_rank_is_small():
    for model, x in random_models(64, 32, kernel_rank=8, recurrent_rank=16):
        assert len(export.convert(model, x).tflite) <= 5400


def test_same_model_gives_the_same_bytes_in_every_process(run_python):
    code = """
import hashlib
import numpy as np
from keras_fastgrnn import FastGRNN, export, keras
x = np.sin(np.arange(60.0)).reshape(2, 10, 3)
layers = [keras.layers.Input((10, 3)), FastGRNN(4, "tanh", "quant_sigmoid"), keras.layers.Dense(2)]
model = keras.Sequential(layers)
model.set_weights([np.cos(np.arange(w.size)).reshape(w.shape) for w in model.get_weights()])
for quantization in ("int16x8", None):
    print(hashlib.sha256(export.convert(model, x, quantization=quantization).tflite).hexdigest())
"""
    first, second = (run_python("-c", code, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second


# Graphs made by hand


def test_limits_of_float_operators_are_written_as_fused_activations():
    limits = {"low": 0.0}, {"low": -1.0, "high": 1.0}, {"low": 0.0, "high": 1.0}
    graph = chain(3, *((FULL, [np.eye(3)], options) for options in limits))
    file = Opened(write(graph))
    assert file.kinds() == [FULL, FULL, FULL, "MINIMUM"]
    interpreter = tf.lite.Interpreter(model_content=write(graph))
    interpreter.allocate_tensors()
    for row in np.array([[-3.0, 0.3, 3.0], [0.9, 1.0, 1.1]], "float32"):
        interpreter.set_tensor(file.input["index"], row[np.newaxis])
        interpreter.invoke()
        expected = evaluate(graph, row[np.newaxis])
        np.testing.assert_array_equal(interpreter.get_tensor(file.output["index"]), expected)


@pytest.mark.parametrize("limits", [(0.0, 6.0), (-2.0, 2.0), (0.5, np.inf)])
def test_limits_that_tflite_cannot_write_are_an_error_of_ours(limits):
    graph = chain(3, (FULL, [np.eye(3)], {"low": limits[0], "high": limits[1]}))
    with pytest.raises(AssertionError, match="No activation clips to"):
        write(graph)


def test_state_that_is_overwritten_before_it_is_read_is_an_error_of_ours():
    graph = fastrnn_step()
    late, state = value(2, "late"), graph.states[0]
    graph.ops.append(Op("ADD", [state.before, constant([1.0])], late))
    with pytest.raises(AssertionError, match="'before' is overwritten before it is read"):
        write(graph)


def test_integer_graph_with_a_float_tensor_left_is_an_error_of_ours():
    graph = chain(3, (FULL, [np.eye(3)], {}), ("TANH", [], {}))
    graph.outputs[0].dtype, graph.outputs[0].scale = "int16", 2.0**-15
    with pytest.raises(AssertionError, match="has a float tensor left"):
        write(graph)


@needs_tflm
def test_further_outputs_show_the_inside():
    graph = fastrnn_step()
    candidate = graph.ops[4].output
    data = write(graph, outputs=[*graph.outputs, candidate])
    interpreter = Interpreter(data)
    interpreter.output_count = 2
    x = sequences(1)[0]
    shown = Graph(graph.inputs, [candidate], graph.ops, graph.states)
    for row, output, inside in zip(x, evaluate(graph, x), evaluate(shown, x), strict=True):
        results = interpreter.invoke(row[np.newaxis])
        np.testing.assert_allclose(results[0][0], output, atol=1e-6)
        np.testing.assert_allclose(results[1][0], inside, atol=1e-6)
