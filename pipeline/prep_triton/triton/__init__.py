"""Everything about Triton: what it is given, what runs inside it, and how to see that it answers correctly.

===================  =================================================================================================
`config/`            config.pbtxt: written from an artifact and a `ServingSpec`, parsed, and what a tier means in it
`entries/`           model directories: assembled, exchanged in one step, loaded; the text entries around a model
`inside_server/`     the only code that runs inside Triton: tokenizer, post-processor, stand-in for a backend. It is
                     copied into model directories, so it imports nothing of prep
`server/`            a real Triton: found, started, sent requests, and its statistics
`verify/`            `prep verify`: the reference's rows and texts are sent to a real Triton, the answers compared
`lint/`              `prep lint`: what is wrong with a repository, found without a server
===================  =================================================================================================

`verify` imports `server` and `config`, `lint` imports `config` alone: neither imports `entries`, so both find what
`entries` does wrong. Nothing here builds an engine. Which plan runs on which GPU (a T4's does not on an L4) is
`prep_triton.gpus.is_runnable`; what else a server of a given release loads is `prep_triton.target`.
"""
