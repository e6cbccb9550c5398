"""What is kept beside a release."""

import pytest
from prep_triton.errors import PreconditionError
from prep_triton.publish.folder import FolderStore
from prep_triton.publish.reports import delete_report, find_unfit, load_report, save_report

ID = "20260131T235959Z-0123456789ab"


def test_a_report_is_written_over_an_earlier_one_and_read_back(tmp_path):
    store = FolderStore(tmp_path)
    assert load_report(store, ID) == {}
    save_report(store, ID, {"regressions": [{"message": "worse"}]})
    assert find_unfit(store) == {ID}
    save_report(store, ID, {"regressions": []})
    assert load_report(store, ID) == {"regressions": []}
    assert find_unfit(store) == set()
    delete_report(store, ID)
    delete_report(store, ID)
    assert store.list_objects("") == []


def test_a_report_whose_answer_was_lost_is_not_an_error(tmp_path):
    class Deaf(FolderStore):
        def write_bytes(self, name, content, **options):
            super().write_bytes(name, content, **options)
            raise PreconditionError("the retry met the first try's object", hint="")

    save_report(Deaf(tmp_path), ID, {"failed": "no answer"})
    assert load_report(FolderStore(tmp_path), ID) == {"failed": "no answer"}


def test_a_store_that_always_refuses_is_told(tmp_path):
    class Stubborn(FolderStore):
        def write_bytes(self, name, content, **options):
            raise PreconditionError("somebody else is always first", hint="wait")

    with pytest.raises(PreconditionError):
        save_report(Stubborn(tmp_path), ID, {})


def test_a_damaged_report_is_passed_over(tmp_path):
    store = FolderStore(tmp_path)
    store.write_bytes(f"reports/{ID}.json", b"{")
    assert load_report(store, ID) == {}
    assert find_unfit(store) == set()
