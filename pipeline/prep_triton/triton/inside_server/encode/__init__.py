"""Text to token ids, inside the server: copied beside a tokenizer entry's ``model.py``.

Of this package nothing may import but the standard library, numpy and `tokenizers`.
"""
