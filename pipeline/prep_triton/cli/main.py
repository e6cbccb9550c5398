"""The entry point of `prep`: it imports nothing at its top, so that Ctrl-C is answered in every import that follows."""

import sys


def main() -> None:
    """Run the command line, and exit with its code."""
    try:
        code = _run_command_line()
    except BaseException as err:
        from prep_triton.cli import interrupts  # again, where its own import was interrupted

        if interrupts.is_debugged() or not interrupts.was_interrupted(err):
            raise
        interrupts.print_interruption(as_json="--json" in sys.argv)
        interrupts.ignore_signals()
        code = interrupts.EXIT_INTERRUPTED
    sys.exit(code)


def _run_command_line() -> int:
    from prep_triton.cli import interrupts

    with interrupts.translate_signals(interrupts.CTRL_C):
        from prep_triton.cli.app import run_command_line

        code = run_command_line()
        # Typer gives the exit code too, without a word, where it was still reading the command line.
        if code == interrupts.EXIT_INTERRUPTED and interrupts.was_interrupted():
            raise KeyboardInterrupt
    if code == interrupts.EXIT_INTERRUPTED:
        interrupts.ignore_signals()
    return code
