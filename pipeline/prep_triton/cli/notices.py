"""Shows what the stages log: each notice once, and of notes of one kind the first."""

import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import override

_PREFIXES: Mapping[int, str] = {logging.DEBUG: "debug", logging.INFO: "note"}

# Where a value stands in a template.
_VALUE = re.compile(r"%[-#0 +.0-9]*[a-z]")

Show = Callable[[str, int], None]


class NoticeHandler(logging.Handler):
    """Renders log records with `show`, which takes a line and its level.

    Notes of one kind are those that one line of the code logs. After the first they are counted, and `flush` tells how
    many there were; `is_verbose` shows all of them.
    """

    def __init__(self, show: Show, *, level: int, is_verbose: bool) -> None:
        super().__init__(level)
        self.show, self.is_verbose = show, is_verbose
        self.shown: set[str] = set()
        self.kinds: dict[Any, int] = {}
        self.first: dict[Any, str] = {}

    @override
    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        text = f"{_PREFIXES.get(record.levelno, 'warning')}: {message}"
        if text in self.shown:
            return
        self.shown.add(text)
        if not self.is_verbose and record.levelno == logging.INFO:
            kind = getattr(record, "template", record.msg)
            if _is_kind(kind):
                self.kinds[kind] = self.kinds.get(kind, 0) + 1
                if self.first.setdefault(kind, message) != message:
                    return
        self.show(text, record.levelno)

    @override
    def flush(self) -> None:
        for kind, count in self.kinds.items():
            if count > 1:
                more = f"{count - 1} more note{'s' if count > 2 else ''} like: {self.first[kind]} (-v shows each)"
                self.show(f"note: {more}", logging.INFO)
        self.kinds.clear()


def _is_kind(template: Any) -> bool:
    """Whether a template has words of its own: of others, such as "%s; %s", each message is of another kind."""
    return isinstance(template, str) and re.search("[a-z]{3}", _VALUE.sub("", template)) is not None
