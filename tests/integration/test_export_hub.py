"""The hub client against a small hub on loopback."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prep_triton.artifact import EmbeddingRecord
from prep_triton.errors import SourceError
from prep_triton.export import hub
from prep_triton.export.onnx import export_model
from prep_triton.export.source import resolve_source
from prep_triton.library_answers import load_library_answers
from prep_triton.spec import ModelSpec
from prep_triton.workspace import Workspace

from tests.integration.test_embedding_library import declare

pytestmark = pytest.mark.integration

COMMIT = "c0ffee" * 6 + "c0ff"
CONFIG = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
REFUSALS = {"gated": (403, "GatedRepo"), "private": (401, "RepoNotFound"), "teapot": (418, "")}


class Hub(BaseHTTPRequestHandler):
    folder: Path

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0].removeprefix("/api/models").strip("/")
        name = path.split("/")[1]
        if name in REFUSALS:
            return self.answer(*REFUSALS[name])
        if "/resolve/" in path:
            return self.send_file(self.folder / path.split("/resolve/")[1].split("/", 1)[1])
        if "/revision/" in path and path.rsplit("/", 1)[-1] not in (COMMIT, "main"):
            return self.answer(404, "RevisionNotFound")
        if "/tree/" in path:
            tree = [
                {"type": "file", "path": name, "size": (self.folder / name).stat().st_size, "oid": "0" * 40}
                for name in self.files()
            ]
            return self.answer(200, "", json.dumps(tree).encode())
        siblings = [{"rfilename": name} for name in self.files()]
        return self.answer(200, "", json.dumps({"id": f"org/{name}", "sha": COMMIT, "siblings": siblings}).encode())

    def files(self) -> list[str]:
        return sorted(str(file.relative_to(self.folder)) for file in self.folder.rglob("*") if file.is_file())

    def send_file(self, file: Path) -> None:
        if not file.is_file():
            return self.answer(404, "EntryNotFound")
        return self.answer(200, "", file.read_bytes())

    def answer(self, status: int, code: str, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hash(body) & 0xFFFFFFFF:040x}"')
        self.send_header("X-Repo-Commit", COMMIT)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", "refused")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass


def point_at(monkeypatch, url: str) -> None:
    """Do what HF_ENDPOINT does, which the client reads once, when it is imported."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture(scope="session")
def repository(tmp_path_factory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("hub")
    BertModel(BertConfig.from_dict(CONFIG)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle that nobody asks for")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(repository: Path, cache: Path, monkeypatch) -> Iterator[ThreadingHTTPServer]:
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (Hub,), {"folder": repository}))
    point_at(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_hub_model_is_exported_at_its_commit_without_pickles(server, cache, tmp_path, capfd):
    produced = export_model(ModelSpec(model="org/Tiny"), Workspace(tmp_path / "build"))
    assert produced.artifact.name == "tiny"
    assert produced.artifact.source == f"hub:org/Tiny@{COMMIT}"
    assert set(produced.artifact.files) == {"model.onnx", "reference.npz", "tokenizer.json", "library.json"}
    assert not list(cache.rglob("pytorch_model.bin"))
    assert capfd.readouterr() == ("", "")


def test_an_embedder_of_the_hub_is_found_by_its_declarations(server, repository, tmp_path, monkeypatch):
    folder = tmp_path / "embedder"
    shutil.copytree(repository, folder)
    declare(folder, ["Pooling", "Normalize"], pooling_mode_cls_token=True, pooling_mode_mean_tokens=False)
    prompts = {"prompts": {"query": "a b ", "document": ""}, "default_prompt_name": "document"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    server.RequestHandlerClass.folder = folder
    workspace = Workspace(tmp_path / "build")
    model = export_model(ModelSpec(model="org/Embedder"), workspace).artifact
    assert (model.task, model.source) == ("sentence-embedding", f"hub:org/Embedder@{COMMIT}")
    assert model.embedding == EmbeddingRecord(pooling=("cls",), prompts={"document": "", "query": "a b "})
    answers = load_library_answers(model.path("library.json"))
    assert {row.prompt_name for row in answers.rows} == {"", "document", "query"}
    # What its declarations say is in the cache: without the hub it is the same model.
    point_at(monkeypatch, "http://127.0.0.1:9")
    assert export_model(ModelSpec(model="org/Embedder"), workspace).reused
    tokens = export_model(ModelSpec(model="org/Embedder", task="feature-extraction", name="tokens"), workspace)
    assert tokens.artifact.embedding == model.embedding


def test_hub_that_went_away_is_replaced_by_its_cache_and_that_is_said(server, tmp_path, monkeypatch, caplog):
    workspace = Workspace(tmp_path / "build")
    export_model(ModelSpec(model="org/Tiny"), workspace)
    point_at(monkeypatch, "http://127.0.0.1:9")
    assert export_model(ModelSpec(model="org/Tiny"), workspace).reused
    assert f"using the cached commit {COMMIT[:12]} of org/Tiny" in caplog.text
    assert export_model(ModelSpec(model="org/Tiny", name="again"), workspace).artifact.name == "again"


def test_random_weights_of_a_hub_model_need_its_config_only(server, cache):
    source = resolve_source(ModelSpec(model="org/Tiny", weights="random", revision="main"))
    assert (source.weights, source.config["hidden_size"]) == ("random", 32)
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("repo", "message", "hint"),
    [
        ("org/gated", "org/gated is gated", "hf auth login"),
        ("org/private", "has no public repository org/private", "hf auth login"),
        ("org/teapot", "refused org/teapot: HTTP 418", "HF_ENDPOINT"),
    ],
)
def test_refusal_of_the_hub_is_reported_with_a_remedy(server, repo, message, hint):
    with pytest.raises(SourceError) as caught:
        resolve_source(ModelSpec(model=repo))
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("revision", ["nowhere", "0" * 40])
def test_unknown_revision_is_reported(server, revision):
    with pytest.raises(SourceError, match=f"org/Tiny has no revision '{revision}'") as caught:
        resolve_source(ModelSpec(model="org/Tiny", revision=revision))
    assert "--revision" in caught.value.hint


def test_repository_without_a_config_is_reported(server, repository, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    server.RequestHandlerClass.folder = empty
    with pytest.raises(SourceError, match=r"org/Other has no config.json") as caught:
        hub.fetch_config("org/Other", None)
    assert "save_pretrained" in caught.value.hint
