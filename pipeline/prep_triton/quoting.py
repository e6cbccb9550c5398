"""How text that somebody else wrote is shown: short, without passwords, and without a word to the terminal.

A model's name, a value of a file or the answer of a server may hold megabytes, a password in an address, or control
characters that colour the terminal, rename its window or write over what stands there.
"""

import os
import re
from typing import Any

VALUE_LIMIT = 200
LINE_LIMIT = 1000
# Of a message: a builder's last words are a few lines.
LINES_LIMIT = 40

# user:password@ and token@ of an address. A port is no password; bounded, since a text may hold millions of "://".
_CREDENTIALS = re.compile(r"://(?:[^/\s]{0,1000}|[^/\s:]{0,1000}:(?![0-9]+/)\S{0,1000})@")
# What these look like wherever they stand: tokens of the hub, of Google and of GitHub, and what signs an address.
_TOKENS = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{16,}|ya29\.[\w.-]{16,}|gh[pousr]_[A-Za-z0-9]{20,})"
    r"|(?<=[Bb]earer )[\w.~+/-]{16,}=*|(?<=X-Goog-Signature=)[0-9a-fA-F]+"
)
# ?token=… of an address: what a parameter is called stays, since it says what the address is.
_PARAMETERS = re.compile(r"(?<=[?&])([\w.-]{1,100})=[^&\s'\"]+")
# Environment variables whose values are secrets.
_SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PREP_GCS_ENCRYPTION_KEY")
_LEAST_SECRET = 8
# Control characters but for the line feed and the tab; what turns the direction of writing; lone surrogates, which
# cannot be encoded.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shorten(text: str, limit: int = VALUE_LIMIT) -> str:
    """Return a text of at most `limit` characters: its beginning, how long it is, and its end."""
    if len(text) <= limit:
        return text
    middle, tail = f"… ({len(text):,} characters) …", limit // 5
    return f"{text[: limit - tail - len(middle)]}{middle}{text[-tail:]}"


def show_value(value: Any) -> str:
    """Return a value as a message repeats it: as Python writes it, short and without control characters."""
    try:
        # Of a string the ends alone, so that 10 MB are not escaped for 200 characters.
        text = repr(shorten(value)) if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of too many digits
        text = f"a {type(value).__name__}"
    return escape_controls(shorten(text, VALUE_LIMIT + 50))


def remove_credentials(text: str) -> str:
    """Replace the user and the parameters of an address, tokens, and the values of variables that hold secrets."""
    for value in filter(None, map(os.environ.get, _SECRET_VARIABLES)):
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, "***")
    text = _TOKENS.sub("***", text)
    return _PARAMETERS.sub(r"\1=***", _CREDENTIALS.sub("://***@", text)) if "://" in text else text


def escape_controls(text: str) -> str:
    r"""Show control characters as Python writes them (``\x1b``); line feeds and tabs stay."""
    return _CONTROLS.sub(lambda match: _escape(ord(match[0])), text)


def clean_message(text: str) -> str:
    """Return a message whose values anybody may have written, as it may be shown and logged.

    A line is at most `LINE_LIMIT` characters long, and a line after the first is indented: a value with a line feed
    in it does not look like a line of its own.
    """
    lines = remove_credentials(text).split("\n")
    if len(lines) > LINES_LIMIT:
        lines = [*lines[: LINES_LIMIT - 2], f"… ({len(lines)} lines) …", lines[-1]]
    rest = (line if line.startswith("  ") or not line else f"  {line}" for line in lines[1:])
    return "\n".join(shorten(escape_controls(line), LINE_LIMIT) for line in (lines[0], *rest))


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
