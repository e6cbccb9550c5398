"""How a text file of another encoding becomes UTF-8."""

import codecs
import shlex
from pathlib import Path

_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


def describe_conversion(path: Path, err: UnicodeDecodeError) -> str:
    """Return the hint for a file that is not UTF-8: the encoding is that of its byte order mark, else Latin-1."""
    encoding = next((name for mark, name in _MARKS.items() if err.object.startswith(mark)), "LATIN1")
    return f"convert it: iconv -f {encoding} -t UTF-8 {shlex.quote(str(path))} > utf8{path.suffix}"
