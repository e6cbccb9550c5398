"""A Python twin of Triton's ONNX Runtime backend, for servers that come without the real one.

Triton (>= 23.10) takes a folder ``<backend directory>/<backend>/model.py`` for a backend. Installed there
as ``onnxruntime``, `model.py` serves entries of the real ONNX Runtime backend unmodified.
"""
