"""One command that takes BERT through everything that needs a GPU, and an archive of what came out.

::

    request.py      what is asked for: models, loads, where to, and whether it is a rehearsal
    machine.py      what this machine has of what is needed, and the line that brings the rest
    steps.py        a list of named steps: each ends as done, rehearsed, skipped or failed, and says why
    engines.py      export, graphs, engines, parity and latency on the device
    serving.py      repository, server, sweep, bursts and report, by the commands of prep
    summary.py      summary.md and the archive to send back
    command.py      the command line

A rehearsal takes the same steps without a GPU: engines are built by TensorRT-RTX and not executed, and the server
serves the same models with ONNX Runtime and OpenVINO. It is never a pass of what the GPU has to do.
"""
