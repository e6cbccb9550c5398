"""What each command answers: one model of its `--json` document, and beside it the renderer for people.

A renderer prints what its document holds and nothing else, so that both forms tell the same. The modules are
imported by the command that answers, never at the start: `prep --help` needs no pydantic. The JSON schemas in
docs/schemas are written from the models by ``python -m prep_triton.cli.documents.schemas``.
"""
