"""What went wrong, in the words of Triton's log."""

import re
from pathlib import Path

_GLOG = re.compile(r"^[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ [\w.]+:[0-9]+\] *")
_ERROR = re.compile(
    r"^[EF][0-9]{4} |^error: |error while loading shared libraries|^\w*(Error|Exception): |"
    r": (unrecognized|invalid|ambiguous) option|: option .* (requires|is ambiguous|doesn't allow)"
)
_POLL = re.compile(r'Poll failed for model directory \'([^\']+)\': (.*?)"?\Z')
# What every machine without a GPU says, and what does not matter there.
_NOISE = ("CudaDriverHelper has not been initialized", "Failed to initialize NVML")


def parse_errors(text: str, *, limit: int = 8) -> list[str]:
    """Return the last error lines of a log without their prefixes; its last lines where there are none."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not any(noise in line for noise in _NOISE)]
    errors = [line for line in lines if _ERROR.search(line)]
    return [_GLOG.sub("", line).strip('"') for line in (errors or lines)[-limit:]]


def parse_refusals(text: str) -> dict[str, str]:
    """Return why the server refused a configuration, by entry; the load request itself does not say it."""
    return {match[1]: match[2] for match in map(_POLL.search, text.splitlines()) if match}


def read_log(path: Path) -> str:
    """Read a log that may hold anything, or not be there yet."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
