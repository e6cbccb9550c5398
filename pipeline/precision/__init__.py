"""From an FP32 ONNX graph to an FP16 one."""
