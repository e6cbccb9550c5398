"""`prep`: from a trained BERT to a Triton model repository on GCS.

The flow is ``export -> precision -> engine -> triton (assemble, verify) -> publish``;
`prep_triton.run` chains it and `prep_triton.cli` is the command line. See CONTRIBUTING.md.
"""

__version__ = "0.1.0"
