"""The --json documents of `prep`, held against the schemas that a user is given."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SCHEMAS_DIR = Path(__file__).parents[2] / "docs" / "schemas"


@cache
def load_validator(name: str) -> Draft202012Validator:
    """Return the validator of a command's document, or of ``error``."""
    schema = json.loads((SCHEMAS_DIR / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def parse_document(text: str, name: str) -> Any:
    """Parse what a command printed with --json, and hold it against its schema."""
    document = json.loads(text)
    load_validator(name).validate(document)
    return document
