"""Draws configurations: any valid message, and the words of any text."""

from typing import Any

from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

WORDS = (  # noqa: SIM905 - a list would take thirty lines
    "name input output dims data_type max_batch_size dynamic_batching instance_group ensemble_scheduling step "
    'parameters key value model_warmup inputs [ ] { } : , "a" -1 8 TYPE_FP32 KIND_GPU # \n < > 99999999999999999999'
).split(" ")


@st.composite
def model_configs(draw) -> Any:
    """Draw any message that the proto allows."""
    config = model_config_pb2.ModelConfig()
    fill(config, draw(messages(config.DESCRIPTOR)))
    return config


@st.composite
def messages(draw, descriptor):
    """Draw the fields of any valid message of a type."""
    if not descriptor.fields:
        return {}
    fields = st.lists(st.sampled_from(list(descriptor.fields)), unique_by=lambda field: field.name, max_size=5)
    return {field: draw(values(field)) for field in draw(fields)}


TEXTS = st.sampled_from(["", "a", "entry", "1", "../x", "\n", "ensemble", "python", "onnxruntime", "é"])


def values(field):
    kinds = {
        field.TYPE_STRING: TEXTS,
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_FLOAT: st.floats(width=32),
        field.TYPE_DOUBLE: st.floats(),
        field.TYPE_INT32: st.sampled_from([0, 1, -1, 8, 2**31 - 1, -(2**31)]),
        field.TYPE_INT64: st.sampled_from([0, 1, -1, 8, 2**63 - 1, -(2**63)]),
        field.TYPE_UINT32: st.sampled_from([0, 1, 2**32 - 1]),
        field.TYPE_UINT64: st.sampled_from([0, 1, 2**64 - 1]),
    }
    if field.enum_type is not None:
        values = st.sampled_from([value.number for value in field.enum_type.values])
    elif field.message_type is not None:
        values = messages(field.message_type)
    else:
        values = kinds[field.type]
    return st.lists(values, max_size=2) if field.is_repeated else values


def fill(message, chosen) -> None:
    for field, value in chosen.items():
        if field.message_type is None:
            if field.is_repeated:
                getattr(message, field.name).extend(value)
            else:
                setattr(message, field.name, value)
        elif field.message_type.GetOptions().map_entry:
            fill_map(message, field, value)
        elif field.is_repeated:
            for inner in value:
                fill(getattr(message, field.name).add(), inner)
        else:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), value)


def fill_map(message, field, entries) -> None:
    key_field, value_field = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
    for inner in entries:
        key = inner.get(key_field, 0 if key_field.type != key_field.TYPE_STRING else "k")
        if value_field.message_type is None:
            getattr(message, field.name)[key] = inner.get(value_field, "")
        else:
            fill(getattr(message, field.name)[key], inner.get(value_field, {}))
