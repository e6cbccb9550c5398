"""``--log-file``: what a command says and does, as JSON lines, for whoever collects the logs of a nightly.

A line has ``time`` (UTC, ISO 8601), ``level`` (debug, info, warning, error), ``logger``, ``message`` and ``stage`` (the
step that was under way, or an empty string). It holds all that ``-v`` shows, also with ``-q``, and no secrets.
"""

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from prep_triton.errors import WorkspaceError
from prep_triton.quoting import clean_message


class LogFile(logging.Handler):
    """Appends what is logged to a file; `stage` is what a record without a stage of its own belongs to."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            WorkspaceError: It cannot be written.
        """
        super().__init__(logging.DEBUG)
        self.stage = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.stream = path.open("a", encoding="utf-8", buffering=1)
        except OSError as err:
            raise WorkspaceError(
                f"the log file {path} cannot be written: {err.strerror}", hint="name another --log-file"
            ) from err

    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean_message(record.getMessage()),
            "stage": clean_message(getattr(record, "stage", self.stage)),
        }
        try:
            self.stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError:
            self.handleError(record)

    @override
    def close(self) -> None:
        self.stream.close()
        super().close()
