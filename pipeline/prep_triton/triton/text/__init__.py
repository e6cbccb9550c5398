"""Text in, answer out: a tokenizer and a post-processor beside a model entry, and the ensemble that clients call."""

from prep_triton.triton.text.assemble import assemble_text_entries, check_text_request

__all__ = ["assemble_text_entries", "check_text_request"]
