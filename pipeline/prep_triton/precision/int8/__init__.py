"""INT8 for TensorRT: explicit Q/DQ around the linear layers."""
