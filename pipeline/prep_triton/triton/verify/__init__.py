"""`prep verify`: the reference's own rows and texts, sent to a real Triton, and every answer compared with PyTorch's.

What is sent, and where that is written:

- to a **model entry** (`model`): each row of its ``reference.npz`` alone, 16 to 64 of them in flight at once so that
  batches form (`in_flight`), full batches, and rows padded to every length bucket;
- to an **ensemble** (`ensemble`): texts (`text_rows`) alone, at once, and in full batches;
- to a **tokenizer** or **post-processor**: nothing of its own. They are checked through their ensemble or, where its
  model cannot run on this machine, step by step with PyTorch's outputs in the model's place (`ensemble_parts`).

What is expected: a model's outputs are those in its reference (`comparison`), an ensemble's answer follows from them
(`expected_answers`), as closely as the entry's precision allows (`tolerance`). How large a request may be is in
`requests`, an entry that Triton does not load in `unloaded`, the order of it all in `repository`, what it runs with in
`tools`, and what `prep verify --json` prints in `report`, which is all that is imported with the package: a run that
remembers its verification starts no client of Triton.
"""

from prep_triton.triton.verify.report import EntryReport, VerifyReport, check_report

__all__ = ["EntryReport", "VerifyReport", "check_report"]
