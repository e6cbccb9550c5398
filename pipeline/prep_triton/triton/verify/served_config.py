"""Whether a running server serves an entry as the repository has it: the same configuration, the same versions.

The server reports its configuration completed: what a file leaves out has a value there. So what the file states must
be served as it stands, and what it leaves out must be what a server completes it to.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prep_triton.artifact import RepositoryEntry
from prep_triton.layout import list_names
from prep_triton.quoting import shorten, show_value
from prep_triton.triton.config.versions import pick_versions
from prep_triton.triton.lint.entry import MODEL_FILES
from prep_triton.triton.server.client import TritonClient
from prep_triton.triton.verify.requests import load_config

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from tritonclient.grpc.model_config_pb2 import ModelConfig

SHOWN = 3
Completion = tuple[Any, ...] | None
# What the server completes a field to that the file leaves out; None: whatever it finds (in a model file, say).
# Source: core, model_config_utils.cc, NormalizeModelConfig, NormalizeInstanceGroup, SetDefaultInstanceCount and
# AutoCompleteBackendFields. `_completed` adds what follows from other fields.
_COMPLETED: dict[str, Completion] = {
    "name": None,
    "platform": None,
    "runtime": None,
    "input": None,
    "input.data_type": None,
    "input.dims": None,
    "output": None,
    "output.data_type": None,
    "output.dims": None,
    "version_policy.latest.num_versions": (1,),
    "dynamic_batching": None,  # without one, ONNX Runtime's and TensorRT's backends add an empty one
    "optimization.input_pinned_memory.enable": (True,),
    "optimization.output_pinned_memory.enable": (True,),
    "instance_group.name": None,
    "instance_group.kind": None,
    "instance_group.gpus": None,
    "sequence_batching.max_sequence_idle_microseconds": (1_000_000,),
}


@dataclass(frozen=True)
class Difference:
    """A field whose value is served otherwise than the repository has it; a side that does not state it is empty."""

    field: str
    served: str
    stated: str

    def __str__(self) -> str:
        stated = f"the repository has {self.stated}" if self.stated else "the repository does not state it"
        return f"{self.field} is {self.served or 'not set'}, and {stated}"


def describe_served_otherwise(entry: RepositoryEntry, client: TritonClient) -> str:
    """Say in what a server's entry is another than the repository's; empty where it is the same.

    Raises:
        RepositoryError: The entry's config.pbtxt cannot be read.
        RefusedRequestError: The server does not serve the entry.
    """
    config = load_config(entry)
    differences = [*_find_other_versions(entry, config, client)]
    differences += find_differences(config, client.read_config(entry.name))
    shown, more = differences[:SHOWN], len(differences) - SHOWN
    return "; ".join(map(str, shown)) + (f"; and {more} more" if more > 0 else "")


def _find_other_versions(entry: RepositoryEntry, config: "ModelConfig", client: TritonClient) -> Iterator[Difference]:
    # Of a release in a bucket, the manifest alone is here; in a repository, a folder may have been added by hand.
    names = {*(name.partition("/")[0] for name in entry.files), *list_names(entry.folder)}
    folders = sorted(int(name) for name in names if name.isdecimal() and name.isascii() and name[0] != "0")
    expected, served = pick_versions(config, folders), client.list_versions(entry.name)
    if set(expected) != set(served):
        sides = [", ".join(map(str, sorted(versions))) or "none" for versions in (served, expected)]
        yield Difference("the version", *sides)


def find_differences(stated: "ModelConfig", served: "ModelConfig") -> list[Difference]:
    """Return the fields, in the message's order, that a server serves otherwise than a file states them."""
    return list(_Comparison(_completed(stated, served)).messages(stated, served, ""))


def _completed(stated: "ModelConfig", served: "ModelConfig") -> dict[str, Completion]:
    """Return what each field that the file leaves out may have become, of one entry."""
    batch: Completion = ([served.max_batch_size],)
    model_file = MODEL_FILES.get(served.backend)
    return {
        **_COMPLETED,
        "backend": None if stated.platform or stated.default_model_filename else (),
        "default_model_filename": (model_file,),
        "instance_group.count": (1, 2) if served.backend == "onnxruntime" else (1,),
        "dynamic_batching.preferred_batch_size": batch,
        "sequence_batching.oldest.preferred_batch_size": batch,
    }


@dataclass(frozen=True)
class _Comparison:
    """Compares what a file states with what is served; `completed` maps a field to what it may become by itself."""

    completed: Mapping[str, Completion]

    def messages(self, stated: Any, served: Any, path: str) -> Iterator[Difference]:
        for descriptor in stated.DESCRIPTOR.fields:
            where = f"{path}.{descriptor.name}" if path else descriptor.name
            sides = getattr(stated, descriptor.name), getattr(served, descriptor.name)
            if _is_map(descriptor):
                yield from self._maps(*sides, where, descriptor)
            elif descriptor.is_repeated:
                yield from self._lists(*sides, where, descriptor)
            elif descriptor.message_type is None:
                yield from self._scalars(*sides, where, descriptor)
            else:
                yield from self._submessages(stated, served, where, descriptor)

    def _submessages(self, stated: Any, served: Any, where: str, descriptor: "FieldDescriptor") -> Iterator[Difference]:
        inner = getattr(stated, descriptor.name), getattr(served, descriptor.name)
        is_stated, is_served = stated.HasField(descriptor.name), served.HasField(descriptor.name)
        # One of several choices says something by being there: version_policy {all {}}.
        is_choice = descriptor.containing_oneof is not None and where not in self.completed
        if is_stated and not is_served:
            yield Difference(where, "", _show(inner[0], descriptor))
        elif is_choice and is_served and not is_stated and not inner[1].ListFields():
            yield Difference(where, _show(inner[1], descriptor), "")
        else:
            yield from self.messages(*inner, where)

    def _scalars(self, stated: Any, served: Any, where: str, descriptor: "FieldDescriptor") -> Iterator[Difference]:
        is_left_out = stated == descriptor.default_value
        if stated != served and not (is_left_out and self._is_completion(where, served)):
            yield Difference(where, _show(served, descriptor), "" if is_left_out else _show(stated, descriptor))

    def _lists(self, stated: Any, served: Any, where: str, descriptor: "FieldDescriptor") -> Iterator[Difference]:
        if not stated and self._is_completion(where, list(served)):
            return
        if descriptor.message_type is None:
            if list(stated) != list(served):
                yield Difference(where, _show_list(served, descriptor), _show_list(stated, descriptor))
            return
        # Where there is no group, the server makes one of the values that it completes a group with.
        is_made = where == "instance_group" and not stated and len(served) == 1
        if len(stated) != len(served) and not is_made:
            yield Difference(f"the number of {where}", str(len(served)), str(len(stated)))
        for index, (left, right) in enumerate(zip([type(served[0])()] if is_made else stated, served, strict=False)):
            for difference in self.messages(left, right, where):
                yield replace(difference, field=f"{where}[{index}]{difference.field.removeprefix(where)}")

    def _maps(self, stated: Any, served: Any, where: str, descriptor: "FieldDescriptor") -> Iterator[Difference]:
        value = descriptor.message_type.fields_by_name["value"]
        for key in sorted({*stated, *served}):
            at = f"{where}[{show_value(key)}]"
            if not (key in stated and key in served):
                sides = (_show(mapping[key], value) if key in mapping else "" for mapping in (served, stated))
                yield Difference(at, *sides)
            elif value.message_type is None:
                yield from self._scalars(stated[key], served[key], at, value)
            else:
                yield from self.messages(stated[key], served[key], at)

    def _is_completion(self, where: str, served: Any) -> bool:
        allowed = self.completed.get(where, ())
        return allowed is None or served in allowed


def _is_map(descriptor: "FieldDescriptor") -> bool:
    return descriptor.message_type is not None and bool(descriptor.message_type.GetOptions().map_entry)


def _show_list(values: Any, descriptor: "FieldDescriptor") -> str:
    return shorten(f"[{', '.join(_show(value, descriptor) for value in values)}]") if values else ""


def _show(value: Any, descriptor: "FieldDescriptor") -> str:
    """Return a value as config.pbtxt would have it, short and in one line."""
    if descriptor.message_type is not None:
        from google.protobuf import text_format

        return shorten(f"{{{text_format.MessageToString(value, as_one_line=True)}}}")
    if descriptor.enum_type is not None:
        known = descriptor.enum_type.values_by_number.get(value)
        return known.name if known else str(value)
    return show_value(value)
