"""From an FP32 ONNX graph to an FP16 one, or an INT8 one for TensorRT or for the CPU."""
