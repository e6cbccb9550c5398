"""The FP32 -> FP16 rewrite of an ONNX graph."""
