"""What is kept beside a release."""

import pytest
from prep_triton.errors import PreconditionError
from prep_triton.publish.folder import FolderStore
from prep_triton.publish.reports import delete_report, find_unfit, load_report, save_report

from tests.fakes.releases import ID
from tests.fakes.stores import HookedStore, lose_answers, refuse_write


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
    save_report(lose_answers(FolderStore(tmp_path)), ID, {"failed": "no answer"})
    assert load_report(FolderStore(tmp_path), ID) == {"failed": "no answer"}


def test_a_store_that_always_refuses_is_an_error(tmp_path):
    with pytest.raises(PreconditionError):
        save_report(HookedStore(FolderStore(tmp_path), before_write=refuse_write), ID, {})


def test_a_damaged_report_is_passed_over(tmp_path):
    store = FolderStore(tmp_path)
    store.write_bytes(f"reports/{ID}.json", b"{")
    assert load_report(store, ID) == {}
    assert find_unfit(store) == set()
