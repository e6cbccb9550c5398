"""`prep`: from a trained BERT to a Triton model repository on GCS.

The flow is ``export -> precision -> engine -> triton (assemble, verify) -> publish``;
`pipeline.run` chains it and `pipeline.cli` is the command line. See CONTRIBUTING.md.
"""

__version__ = "0.1.0"
