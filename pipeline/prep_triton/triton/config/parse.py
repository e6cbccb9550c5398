"""config.pbtxt to Triton's own protobuf message: the one parser, which also knows on which line each field stands."""

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prep_triton.errors import RepositoryError
from prep_triton.layout import CONFIG_NAME
from prep_triton.triton.config.text_reader import TextNotes, TextReader

if TYPE_CHECKING:
    from tritonclient.grpc.model_config_pb2 import ModelConfig

_PLACE = re.compile(r"^[0-9]+(:[0-9]+)? : ")
# A string, in which '#' begins no comment, or a comment.
_COMMENT = re.compile(rb"""\"(?:[^"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|#[^\n]*""")
_QUOTED = re.compile(r"^'.*?': ", re.DOTALL)


@dataclass(frozen=True)
class SyntaxProblem:
    """Where it is not text format, or a value is not of its field's type."""

    line: int
    message: str


@dataclass(frozen=True)
class ScannedConfig:
    """A configuration as its text has it.

    `message` is without what is unknown, and None where there is a `problem`; then the `notes` end there.
    """

    message: "ModelConfig | None" = None
    problem: SyntaxProblem | None = None
    notes: TextNotes = field(default_factory=TextNotes)


def decode_config(content: bytes) -> str:
    """Decode the bytes of a config.pbtxt: comments may be in any encoding, since the server skips them.

    Raises:
        UnicodeDecodeError: What is not UTF-8 stands elsewhere, or there is a NUL, at which the server stops.
    """
    if (place := content.find(0)) >= 0:
        raise UnicodeDecodeError("utf-8", content, place, place + 1, "the server takes no NUL")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return _COMMENT.sub(lambda match: _latin_comment(match[0]), content).decode("utf-8")


def _latin_comment(token: bytes) -> bytes:
    """Return a comment of ASCII signs; a string as it is."""
    return token.decode("ascii", "replace").encode("ascii", "replace") if token.startswith(b"#") else token


def scan_config(text: str) -> ScannedConfig:
    """Read the text of a config.pbtxt; whatever is wrong with it is in the result."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    message, notes = model_config_pb2.ModelConfig(), TextNotes()
    reader = TextReader(text, notes)
    try:
        reader.read_fields(message, "", closing="")
    except text_format.ParseError as err:
        line = err.GetLine()
        return ScannedConfig(None, SyntaxProblem(reader.line if line is None else line, _brief(str(err))), notes)
    return ScannedConfig(message, None, notes)


def parse_config(text: str, *, where: str = CONFIG_NAME) -> "ModelConfig":
    """Parse the text of a config.pbtxt as the server does.

    Args:
        text: The file's content.
        where: What to call it in a message.

    Raises:
        RepositoryError: The text is not a model configuration; names the line and the nearest field.
    """
    scanned = scan_config(text)
    for unknown in scanned.notes.unknown:
        raise RepositoryError(
            f"{where}, line {unknown.line}: {unknown.message} has no field '{unknown.name}'", hint=unknown.hint
        )
    if scanned.problem is not None:
        raise RepositoryError(
            f"{where}, line {scanned.problem.line}: {scanned.problem.message}",
            hint="write the file again with `prep assemble`, or correct that line",
        )
    assert scanned.message is not None
    return scanned.message


def _brief(message: str) -> str:
    """Take from a parser's message its place, and the line that it quotes."""
    return _QUOTED.sub("", _PLACE.sub("", message)).rstrip(".")
