"""MPNet's tokenizer of a few words: BERT's WordPiece between RoBERTa's special tokens, laid out as the hub has it."""

from pathlib import Path

import transformers

from tests.fakes.bert_checkpoint import VOCABULARY


def write_mpnet(folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and vocab.txt.

    As there the first four are fairseq's, the unknown token is BERT's among the words, and the mask stands last.
    """
    words = [word for word in VOCABULARY if word not in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")]
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *words, "<mask>"]
    tokenizer = transformers.MPNetTokenizer(
        vocab={token: index for index, token in enumerate(tokens)}, model_max_length=512
    )
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
