"""Small tokenizers of RoBERTa's line, laid out as the hub has them: byte-level BPE, and SentencePiece's Unigram."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

from prep_triton.export.reference import load_sentences
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

# Ids that the converted checkpoints have: fairseq's four, and the mask behind all pieces.
_FAIRSEQ = ("<s>", "<pad>", "</s>", "<unk>")
_CAMEMBERT = ("<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>")
_MODERN = ("[UNK]", "[CLS]", "[SEP]", "[PAD]")
# Of NFKC's some: a ligature, wide letters, spaces; a control character is dropped.
_CHARACTERS = {
    "\ufb01": "fi",
    "\uff21": "A",
    "\uff22": "B",
    "\uff43": "c",
    "\u00a0": " ",
    "\u2003": " ",
    "\u3000": " ",
    "\n": " ",
    "\t": " ",
    "\u0007": "",
}


def write_byte_level(folder: Path, *, pieces: int = 400, add_prefix_space: bool = False) -> None:
    """Write RoBERTa's files: vocab.json, merges.txt, tokenizer.json, tokenizer_config.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces, special_tokens=list(_FAIRSEQ), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(load_sentences(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*_FAIRSEQ, AddedToken("<mask>", lstrip=True)])
    ids = tokenizer.get_vocab()
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", ids["</s>"]), ("<s>", ids["<s>"]), trim_offsets=True, add_prefix_space=add_prefix_space
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(ids))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in content["model"]["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512}
    if add_prefix_space:
        settings["add_prefix_space"] = True
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_modern(folder: Path, *, pieces: int = 400) -> None:
    """Write ModernBERT's files: tokenizer.json alone has the vocabulary, with BERT's special tokens behind it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=pieces, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(load_sentences(), trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*_MODERN, AddedToken("[MASK]", lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 8192,
        **{f"{token.strip('[]').lower()}_token": token for token in (*_MODERN, "[MASK]")},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_unigram(folder: Path, *, pieces: int = 300, is_camembert: bool = False) -> None:
    """Write XLM-R's or CamemBERT's files: tokenizer.json, tokenizer_config.json. The .model file is left out."""
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=pieces, unk_token="<unk>", special_tokens=["<unk>"])
    trainer.show_progress = False
    trained.train_from_iterator(load_sentences(), trainer)
    learned = [pair for pair in json.loads(trained.to_str())["model"]["vocab"] if pair[0] != "<unk>"]
    special = _CAMEMBERT if is_camembert else _FAIRSEQ
    vocabulary = [*((token, 0.0) for token in special), *((piece, score) for piece, score in learned), ("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=special.index("<unk>"), byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens([*special, AddedToken("<mask>", lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, special.index(token)) for token in ("<s>", "</s>")],
    )
    content = json.loads(tokenizer.to_str())
    charsmap = base64.b64encode(compile_charsmap(_CHARACTERS)).decode()
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": charsmap}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    kind = "CamembertTokenizer" if is_camembert else "XLMRobertaTokenizer"
    settings = {"tokenizer_class": kind, "model_max_length": 512}
    if is_camembert:
        settings["additional_special_tokens"] = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def compile_charsmap(replacements: Mapping[str, str]) -> bytes:
    """Compile what SentencePiece keeps its normalization in: a Darts double array of keys, and the strings behind it.

    Each node of the trie has a block of 256 units of its own, which wastes room and needs no search for a free one.
    """
    strings, places = b"", {}
    for key, value in replacements.items():
        places[key.encode()] = len(strings)
        strings += value.encode() + b"\0"
    nodes = {b"": 0, **{key[:end]: 0 for key in places for end in range(1, len(key) + 1)}}
    blocks = {prefix: 256 * (index + 1) for index, prefix in enumerate(nodes)}
    units = [0] * (256 * (len(nodes) + 1))
    for prefix, block in blocks.items():
        place = blocks[prefix[:-1]] ^ prefix[-1] if prefix else 0
        label = prefix[-1] if prefix else 0
        units[place] = (place ^ block) << 10 | (prefix in places) << 8 | label
        if prefix in places:
            units[block] = places[prefix] | 1 << 31
    trie = b"".join(unit.to_bytes(4, "little") for unit in units)
    return len(trie).to_bytes(4, "little") + trie + strings
