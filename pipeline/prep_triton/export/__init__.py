"""From a model's weights to ONNX, checked against PyTorch."""
