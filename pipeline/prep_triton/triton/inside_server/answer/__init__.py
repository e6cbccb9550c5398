"""The model's numbers to answers, inside the server: copied beside a post-processor entry's ``model.py``.

Of this package nothing may import but the standard library and numpy.
"""
