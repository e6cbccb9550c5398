"""The JSON schemas of the files that users write, for editors: every key with its description and its default.

They are of draft 7, which is what yaml-language-server knows best. Anything that is no text may also be a variable,
``${VARIABLE}``: see `prep_triton.spec.variables`.
"""

import json
from collections.abc import Mapping
from typing import Any

from prep_triton.spec.base import Spec
from prep_triton.spec.run import RunSpec
from prep_triton.spec.serving import ServingSpec

# By the word for the file: what it holds, and its title.
FILES: Mapping[str, tuple[type[Spec], str]] = {
    "pipeline": (RunSpec, "A pipeline file of prep run"),
    "serving": (ServingSpec, "The FILE of prep assemble --serving FILE"),
}

_VARIABLE = {"type": "string", "pattern": r"\$\{", "description": "A variable of the environment: ${NAME}."}
_REFERENCE = {"$ref": "#/definitions/variable"}


def make_schema(file: str) -> dict[str, Any]:
    """Return the schema of one of `FILES`."""
    spec_type, title = FILES[file]
    schema = spec_type.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {name: _visit(inner) for name, inner in sorted(schema.pop("$defs", {}).items())}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_visit(schema),
        "title": title,
        "definitions": {**definitions, "variable": _VARIABLE},
    }


def render_schema(file: str) -> str:
    """Return the text of the schema of one of `FILES`."""
    return json.dumps(make_schema(file), indent=2, ensure_ascii=False) + "\n"


def _visit(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of pydantic's as one of draft 7, with variables and without the titles that repeat the keys."""
    schema = {key: value for key, value in schema.items() if key != "title"}
    if "properties" in schema:
        schema["properties"] = {key: _visit(inner) for key, inner in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _visit(schema[key])
    if "prefixItems" in schema:
        schema["items"] = [_visit(inner) for inner in schema.pop("prefixItems")]
    if "anyOf" in schema:
        schema["anyOf"] = [_visit(inner) for inner in schema["anyOf"]]
    if isinstance(schema.get("default"), dict):
        schema["default"] = {}  # its keys have their own
    if "$ref" in schema and len(schema) > 1:
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]  # beside a reference, draft 7 reads nothing
    return _allow_variable(schema) if _is_scalar(schema) else schema


def _is_scalar(schema: Mapping[str, Any]) -> bool:
    is_any_text = schema.get("type") == "string" and not schema.keys() & {"enum", "const", "pattern"}
    return not is_any_text and bool(schema.keys() & {"enum", "const"} or schema.get("type") in _SCALARS)


_SCALARS = ("string", "integer", "number", "boolean")


def _allow_variable(schema: dict[str, Any]) -> dict[str, Any]:
    about: dict[str, Any] = {key: schema.pop(key) for key in ("description", "default") if key in schema}
    return {**about, "anyOf": [schema, _REFERENCE]}
