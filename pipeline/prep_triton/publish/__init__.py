"""Immutable releases of a model repository, on GCS or in a folder.

::

    publish a repository   release.py     publish_release: what plan.py says, done; the pointer last of all
                           plan.py        what goes up, what is copied in the store, what is there already
                           repository.py  the local repository, checked against its manifests
                           transfer.py    many files at once: digest, upload, copy, download
    find a release         catalog.py     resolve(store, reference), list_releases, the pointer
    read a release         check.py       is it whole where it lies, and what may this account do
                           fetch.py       copy it here
                           diff.py        what changed between two; figures.py has what is compared
    change what is there   pointer.py     move_current, rollback
                           prune.py       remove old releases and the remains of killed runs
                           reports.py     how a release was verified, and why it is not current
    formats                record.py      release.json and current.json; `prep_triton.layout` has the names
    stores                 store.py       the Store protocol; all above knows only this
                           uri.py         open_store(uri): gs://bucket/prefix, a folder
                           folder.py, gcs/, checksum.py

Functions take a `Store`; a URI is opened once, by the caller.
"""
