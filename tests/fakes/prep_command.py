"""The `prep` command as a user runs it: in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.documents import parse_document

SCRIPT = Path(sys.executable).with_name("prep")
TIMEOUT_S = 120

# Ends the command from within when it reaches a function, so that the moment is always the same one.
_INTERRUPTED = """
import importlib, os, sys, threading
module_name, function_name, number, delay_s, sys.argv = {moment!r}, {function!r}, {number}, {delay_s}, {argv!r}
module = importlib.import_module(module_name)
original = getattr(module, function_name)
def end(*arguments, **options):
    send = lambda: os.killpg(os.getpid(), number) if number == {sigint} else os.kill(os.getpid(), number)
    threading.Timer(delay_s, send).start() if delay_s else send()
    return original(*arguments, **options)
setattr(module, function_name, end)
from prep_triton.cli.main import main
main()
"""

_LIST_IMPORTS = """
import json, sys
sys.argv = {argv!r}
from prep_triton.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted({{name.split(".")[0] for name in sys.modules}})), file=sys.stderr)
"""


@dataclass(frozen=True)
class Prep:
    """Runs `prep` in a folder, with an environment; `script` is that of another Python."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    script: Path = SCRIPT

    def start(self, *arguments: object, code: str | None = None, **more: str) -> "subprocess.Popen[str]":
        """Start a command, in a session of its own."""
        command = [sys.executable, "-c", code] if code else [str(self.script), *map(str, arguments)]
        environment = {**os.environ, "NO_COLOR": "1", **self.environment, **more}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: object, code: str | None = None, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        with self.start(*arguments, code=code, **more) as started:
            try:
                message, errors = started.communicate(timeout=TIMEOUT_S)
            except BaseException:
                os.killpg(started.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(list(map(str, arguments)), started.returncode, message, errors)

    def succeed(self, *arguments: object, **more: str) -> Any:
        """Run a command with --json that has to succeed; return its document."""
        done = self.run(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return parse_document(done.stdout, str(arguments[0]))

    def fail(self, *arguments: object, code: int, **more: str) -> dict[str, str]:
        """Run a command with --json that has to fail in one sentence with a hint; return the error."""
        done = self.run(*arguments, "--json", **more)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        error: dict[str, str] = parse_document(done.stdout, "error")["error"]
        assert f"error: {error['message']}\n" in done.stderr
        assert f"hint: {error['hint']}\n" in done.stderr
        return error

    def end_at(
        self, moment: str, number: signal.Signals, *arguments: object, delay_s: float = 0.0, **more: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command that gets a signal when it reaches ``module:function``."""
        module, _, function = moment.partition(":")
        names = {"moment": module, "function": function, "number": int(number), "sigint": int(signal.SIGINT)}
        argv = ["prep", *map(str, arguments)]
        return self.run(code=_INTERRUPTED.format(argv=argv, delay_s=delay_s, **names), **more)

    def run_and_list_imports(self, *arguments: object) -> tuple["subprocess.CompletedProcess[str]", set[str]]:
        """Run a command, and return the top-level packages that it imported."""
        done = self.run(code=_LIST_IMPORTS.format(argv=["prep", *map(str, arguments)]))
        return done, set(json.loads(done.stderr.splitlines()[-1]))
