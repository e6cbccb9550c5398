"""The entry point of `prep`: light, so that Ctrl-C is answered while the commands are still being imported."""

import signal
import sys

from prep_triton.cli import interrupts


def main() -> None:
    """Run the command line, and exit with its code."""
    with interrupts.translate_signals(signal.SIGINT):
        try:
            from prep_triton.cli.app import run_command_line

            code = run_command_line()
        except BaseException as err:
            if interrupts.is_debugged() or not interrupts.was_interrupted(err):
                raise
            code = interrupts.EXIT_INTERRUPTED
        # Typer gives the exit code too, without a word, where it was still reading the command line.
        if code == interrupts.EXIT_INTERRUPTED and interrupts.was_interrupted():
            interrupts.print_interruption(as_json="--json" in sys.argv)
    sys.exit(code)
