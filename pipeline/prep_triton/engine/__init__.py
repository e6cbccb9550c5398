"""From an ONNX graph to a serialized engine, in a child process, with proof of its precision."""
