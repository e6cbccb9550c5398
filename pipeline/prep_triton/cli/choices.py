"""What a flag may say, taken from where each table of choices stands.

A help text names a table in braces, ``"{precisions}."``, and a completion by its name. The tables are looked up when a
command's own help or a completion needs them: those of `spec` and `export` take pydantic, which `prep --help` goes
without.
"""

from collections.abc import Callable, Mapping
from typing import Any, get_args

from typer.core import TyperCommand

from prep_triton.gpus import CAPABILITY_BY_GPU
from prep_triton.tasks import TASK_CHOICES, tasks_with_option

Words = tuple[str, ...]


def _of_spec(name: str) -> Callable[[], Words]:
    """Return a table of choices that `spec` states as a Literal of that name."""

    def look_up() -> Words:
        from prep_triton import spec

        return tuple(map(str, get_args(getattr(spec, name))))

    return look_up


def _of_deployment(name: str) -> Callable[[], Words]:
    """Return a table of choices that `deploy.request` states as a Literal of that name."""

    def look_up() -> Words:
        from prep_triton.deploy import request

        return tuple(map(str, get_args(getattr(request, name))))

    return look_up


def _aliases() -> Words:
    from prep_triton.export.source import ALIASES

    return tuple(ALIASES)


def _kinds() -> Words:
    from prep_triton.run.inventory import KIND_BY_STAGE

    return tuple(KIND_BY_STAGE.values())


def _platforms() -> Words:
    from prep_triton.spec import TargetSpec

    return get_args(TargetSpec.model_fields["platform"].annotation)


def _snippets() -> Words:
    from prep_triton.triton.server.snippet import LANGUAGES

    return LANGUAGES


def _model_loadings() -> Words:
    from prep_triton.deploy.request import ModelLoading

    return get_args(ModelLoading)


def _schema_files() -> Words:
    from prep_triton.spec.schema import FILES

    return tuple(FILES)


CHOICES: Mapping[str, Callable[[], Words]] = {
    "aliases": _aliases,
    "answer_forms": _of_spec("AnswerForm"),
    "autoscalers": _of_deployment("Autoscaler"),
    "builders": _of_spec("Builder"),
    "calibration_methods": _of_spec("CalibrationMethod"),
    "gateway_classes": _of_deployment("GatewayClass"),
    "gateways": _of_deployment("Gateway"),
    "gpu_sharings": _of_deployment("GpuSharing"),
    "gpus": lambda: tuple(CAPABILITY_BY_GPU),
    "hardware": _of_spec("HardwareCompatibility"),
    "instance_kinds": _of_spec("InstanceKind"),
    "kinds": _kinds,
    "long_inputs": _of_spec("LongInput"),
    "model_loadings": _model_loadings,
    "paddings": _of_spec("Padding"),
    "performance_hints": _of_spec("PerformanceHint"),
    "platforms": _platforms,
    "precisions": _of_spec("Precision"),
    "runtimes": _of_spec("Runtime"),
    "schema_files": _schema_files,
    "snippets": _snippets,
    "stream_priorities": _of_spec("StreamPriority"),
    "tasks": lambda: TASK_CHOICES,
    "tasks_with_answers": lambda: tasks_with_option("answers"),
    "tasks_with_max_answer_tokens": lambda: tasks_with_option("max_answer_tokens"),
    "tasks_with_top_k": lambda: tasks_with_option("top_k"),
    "tiers": _of_spec("Tier"),
    "weights": _of_spec("Weights"),
}


def complete(table: str) -> Callable[[str], list[str]]:
    """Return a completion function over a table of choices."""
    look_up = CHOICES[table]

    def complete_word(incomplete: str) -> list[str]:
        return [word for word in look_up() if word.startswith(incomplete)]

    return complete_word


def fill_choices(text: str) -> str:
    """Put the words of the tables that a text names into it: ``fp32, fp16 or int8``."""
    return text.format_map(_Lists())


class _Lists(dict[str, str]):
    def __missing__(self, table: str) -> str:
        *words, last = CHOICES[table]()
        return f"{', '.join(words)} or {last}" if words else last


class Command(TyperCommand):
    """A command whose help shows the choices of its flags."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Fill the choices in just before the options are printed."""
        for parameter in self.params:
            if text := getattr(parameter, "help", None):
                parameter.help = fill_choices(text)  # type: ignore[attr-defined]
        super().format_options(ctx, formatter)
