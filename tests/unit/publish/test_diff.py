from dataclasses import replace

from prep_triton.publish.diff import diff_releases
from prep_triton.publish.record import ReleaseFile

from tests.fakes.releases import MANIFEST, make_release


def release(*names, size=3, **changes):
    base = make_release()
    entries = tuple(
        base.entries[0].model_copy(update={"name": name, "manifest": MANIFEST, **changes}) for name in names
    )
    files = {
        f"{name}/{file}": ReleaseFile(size=size, crc32c="AAAAAA==", sha256=f"{size:02}")
        for name in names
        for file in ("config.pbtxt", "manifest.json")
    }
    return make_release(entries=entries, files=files)


def test_entries_are_added_removed_changed_and_the_same():
    before, after = release("a", "b"), release("b", "c")
    diff = diff_releases(before, after)
    assert (list(diff.added), list(diff.removed), diff.changed, diff.unchanged) == (["c"], ["a"], (), ("b",))
    assert diff.size == 0


def test_change_names_its_fields():
    diff = diff_releases(release("a"), release("a", size=5, precision="int8"))
    (change,) = diff.changed
    assert change.changed == ("precision", "size_bytes", "config")
    assert (change.before.precision, change.after.precision) == ("fp16", "int8")
    assert diff.size == 4


def test_same_size_with_other_bytes_is_a_change_of_that_file_and_a_manifests_time_is_none():
    before, after = release("a"), release("a")
    later = {**after.files, "a/manifest.json": after.files["a/manifest.json"].model_copy(update={"sha256": "x"})}
    assert diff_releases(before, after.model_copy(update={"files": later})).unchanged == ("a",)
    other = {**later, "a/config.pbtxt": later["a/config.pbtxt"].model_copy(update={"sha256": "x"})}
    (change,) = diff_releases(before, after.model_copy(update={"files": other})).changed
    assert change.changed == ("config",)
    assert replace(change.before) == change.after


def test_weights_and_code_are_told_apart():
    before = release("a")
    new = ReleaseFile(size=0, crc32c="AAAAAA==", sha256="x")  # of no size, for a file more is no size more

    def changed(*names: str) -> tuple[str, ...]:
        files = {**before.files, **{f"a/{name}": new for name in names}}
        (change,) = diff_releases(before, before.model_copy(update={"files": files})).changed
        return change.changed

    assert changed("1/model.onnx") == ("weights",)
    assert changed("1/model.py", "tokenizer.json") == ("files",)
    assert changed("1/model.onnx", "reference.npz") == ("weights", "files")


def test_what_was_seen_of_both_on_triton_is_compared():
    reports = tuple({"entries": [{"name": "a", "mean_cosine": c, "p50_ms": p}]} for c, p in ((0.9, 2.0), (0.8, 2.0)))
    (change,) = diff_releases(release("a"), release("a"), (reports[0], reports[1])).changed
    assert change.changed == ("served_cosine",)
