"""A pipeline file, run: the order of the stages, and what each run looks up, reports and remembers.

`pipeline.run_pipeline` has the order:

====================  =======================================================================================
`resolve`             this machine and the store, looked up once
`checks`              what is refused before the first minute of work
`models`              every model: export, then `variants` in this process, or in `processes` within `memory`
`variants`            `conversion` and `build` of a variant (or `int8_if_faster`), and its repository entries
`publication`         the repository, linted and published as a release
`verification`        the release, on a real Triton where it lies
`promotion`           made current, unless `regression` finds it worse
`report`, `summary`   what became of each step; the same as Markdown
====================  =======================================================================================

Beside it: `plan_gpus` (the part of one GPU), `deployment` (a release on GKE), `doctor` (what this machine can do),
`inventory` and `garbage` (what the workspace holds, and what of it may go).
"""
