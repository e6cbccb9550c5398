"""What `prep_triton.engine` asks of TensorRT, held against the real bindings of several versions."""
