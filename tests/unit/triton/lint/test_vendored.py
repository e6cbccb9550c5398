"""Shared libraries inside a Python entry."""

import struct

import pytest
from prep_triton.artifact import VendoredRecord
from prep_triton.triton.lint import lint_repository

from tests.fakes.lint_cases import (
    write_python,
)
from tests.fakes.lint_helpers import codes, only, save_manifest_again, target_for


def elf(machine=62, *, sections=0):
    header = bytearray(64)
    header[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<H", header, 18, machine)
    struct.pack_into("<Q", header, 40, 64)
    struct.pack_into("<HH", header, 58, 64, sections)
    return bytes(header)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("lib.abi3.so", elf(), None),
        ("lib.cpython-312-x86_64-linux-gnu.so", elf(), None),
        ("lib.cpython-311-x86_64-linux-gnu.so", elf(), "vendored-python"),
        ("lib.abi3.so", elf(183), "vendored-platform"),
        ("lib.abi3.so", elf(sections=1), "vendored-damaged"),
        ("lib.abi3.so", b"", "vendored-damaged"),
        ("lib.abi3.so", b"MZ" * 64, "vendored-damaged"),
    ],
)
def test_a_vendored_library_is_checked_by_its_own_header_and_tag(repository, name, content, code):
    folder = write_python(repository, "one")
    (folder / "1" / name).write_bytes(content)
    assert codes(lint_repository(repository, target_for()), "error") == ({code} if code else set())


def test_a_vendored_package_that_is_not_there_is_an_error(onnx_entry, repository):
    package = VendoredRecord(package="tokenizers", version="0.22.1", python="3.10", platform="linux/amd64")
    folder = write_python(repository, "tokenizer")
    changes = {"name": "tokenizer", "kind": "tokenizer", "runtime": "python", "max_batch_size": 8, "vendored": package}
    save_manifest_again(onnx_entry, folder, **changes)
    assert only(lint_repository(repository), "file-missing").path == "tokenizer/1/tokenizers"
