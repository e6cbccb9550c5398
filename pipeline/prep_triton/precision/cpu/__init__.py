"""INT8 for ONNX Runtime on the CPU."""
