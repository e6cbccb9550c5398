"""The texts of a serialised request, to count their tokens by."""


def texts_from_request(request: bytes) -> dict[str, list[str]]:
    """Return the texts of each input of a request that was made of text, one for each row."""
    from tritonclient.grpc import service_pb2
    from tritonclient.utils import deserialize_bytes_tensor

    message = service_pb2.ModelInferRequest.FromString(request)
    return {
        tensor.name: [bytes(text).decode("utf-8", "replace") for text in deserialize_bytes_tensor(content)]
        for tensor, content in zip(message.inputs, message.raw_input_contents, strict=True)
        if tensor.datatype == "BYTES"
    }
