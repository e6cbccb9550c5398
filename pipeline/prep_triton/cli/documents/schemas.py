"""The JSON schemas of every command's document, and of the files that users write.

``python -m prep_triton.cli.documents.schemas [FOLDER]`` writes them.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from prep_triton.cli.documents import assemble, publish, releases
from prep_triton.cli.documents.bench import BenchDocument
from prep_triton.cli.documents.build_engine import BuildDocument
from prep_triton.cli.documents.bursts import BurstDocument
from prep_triton.cli.documents.client import ClientDocument, SnippetDocument
from prep_triton.cli.documents.compare import CompareDocument
from prep_triton.cli.documents.deploy import DeployDocument
from prep_triton.cli.documents.doctor import DoctorDocument
from prep_triton.cli.documents.export import ExportDocument
from prep_triton.cli.documents.fetch import FetchDocument
from prep_triton.cli.documents.gc import GcDocument
from prep_triton.cli.documents.init import InitDocument
from prep_triton.cli.documents.inspect import InspectDocument
from prep_triton.cli.documents.inspect_others import InspectedEntry, InspectedGraph, InspectedRelease
from prep_triton.cli.documents.lint import CodesDocument, LintDocument
from prep_triton.cli.documents.list import ListDocument
from prep_triton.cli.documents.prune import PruneDocument
from prep_triton.cli.documents.report import ReportDocument
from prep_triton.cli.documents.rollback import RollbackDocument
from prep_triton.cli.documents.run import CheckedDocument, GpusDocument, RunDocument
from prep_triton.cli.documents.schema import SchemaDocument
from prep_triton.cli.documents.serve import ServeDocument
from prep_triton.cli.documents.tune import TuneDocument
from prep_triton.cli.documents.verify import VerifyDocument
from prep_triton.cli.error_document import ErrorDocument
from prep_triton.spec.schema import FILES, render_schema

DEFAULT_FOLDER = Path("docs/schemas")

# By command; `error` is what each of them answers where it fails.
DOCUMENTS: Mapping[str, Any] = {
    "export": ExportDocument,
    "build-engine": BuildDocument,
    "inspect": InspectDocument | InspectedGraph | InspectedEntry | InspectedRelease,
    "compare": CompareDocument,
    "assemble": assemble.AssembleDocument | assemble.AssemblePlan,
    "lint": LintDocument | CodesDocument,
    "verify": VerifyDocument,
    "serve": ServeDocument,
    "client": ClientDocument | SnippetDocument,
    "bench": BenchDocument | BurstDocument,
    "tune": TuneDocument,
    "report": ReportDocument,
    "publish": publish.PublishDocument | publish.PublishPlan | publish.CheckDocument,
    "releases": (releases.ReleasesDocument | releases.CurrentDocument | releases.ShowDocument | releases.DiffDocument),
    "rollback": RollbackDocument,
    "prune": PruneDocument,
    "fetch": FetchDocument,
    "deploy": DeployDocument,
    "run": RunDocument | GpusDocument | CheckedDocument,
    "list": ListDocument,
    "gc": GcDocument,
    "doctor": DoctorDocument,
    "init": InitDocument,
    "schema": SchemaDocument,
    "error": ErrorDocument,
}


def render_schemas() -> dict[str, str]:
    """Return the text of each schema by its file's name."""
    documents = {name: _render_schema(name, document) for name, document in DOCUMENTS.items()}
    files = {name: render_schema(name) for name in FILES}
    return {f"{name}.schema.json": text for name, text in (documents | files).items()}


def _render_schema(name: str, document: Any) -> str:
    what = "a command that failed" if name == "error" else f"prep {name}"
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"The --json document of {what}"}
    schema = TypeAdapter(document).json_schema(mode="serialization")
    return json.dumps({**schema, **about}, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the schemas."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render_schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
