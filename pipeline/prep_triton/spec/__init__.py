"""Requests: what a user asked for, from `configs/*.yaml` or from flags (a flag wins over the file).

Every spec is frozen and refuses unknown keys, naming the nearest known one. YAML keys and flags have
the same names, in snake_case and kebab-case. Nothing here touches a model, a vendor library or the
network.
"""

from prep_triton.spec.base import (
    GpuName,
    Sizes,
    Spec,
    build_spec,
    parse_sizes,
    with_flags,
)
from prep_triton.spec.bench import BenchSpec
from prep_triton.spec.build import (
    Builder,
    BuildOptions,
    EngineSpec,
    HardwareCompatibility,
    OptimizationProfile,
    default_profile,
    flags_from_precision,
    parse_profile,
    profiles_from_seq_lens,
)
from prep_triton.spec.model import (
    ModelSpec,
    Weights,
)
from prep_triton.spec.precision import (
    PRECISIONS,
    RUNTIMES,
    CalibrationMethod,
    CalibrationSpec,
    ConversionSpec,
    GateSpec,
    Precision,
    QuantizationSpec,
    Runtime,
    find_precision_problem,
)
from prep_triton.spec.run import (
    EntrySpec,
    PipelineModelSpec,
    RegressionSpec,
    RunSpec,
    VariantSpec,
    VerifySpec,
)
from prep_triton.spec.serving import (
    DEFAULT_LENGTH_BUCKETS,
    MOST_ROWS,
    AcceleratorSpec,
    AnswerForm,
    InstanceGroupSpec,
    InstanceKind,
    LongInput,
    Padding,
    PerformanceHint,
    QueuePolicySpec,
    QueueSpec,
    RateLimiterSpec,
    ResourceSpec,
    ServingSpec,
    StreamPriority,
    TextSpec,
    Tier,
    VersionPolicySpec,
)
from prep_triton.spec.settings_file import (
    RUN_HINT,
    SettingsFile,
    load_run_spec,
    load_serving_file,
    load_settings,
    parse_run_spec,
)
from prep_triton.spec.target import (
    TargetSpec,
)
from prep_triton.spec.wording import (
    NAME_PATTERN,
)

__all__ = [
    "DEFAULT_LENGTH_BUCKETS",
    "MOST_ROWS",
    "NAME_PATTERN",
    "PRECISIONS",
    "RUNTIMES",
    "RUN_HINT",
    "AcceleratorSpec",
    "AnswerForm",
    "BenchSpec",
    "BuildOptions",
    "Builder",
    "CalibrationMethod",
    "CalibrationSpec",
    "ConversionSpec",
    "EngineSpec",
    "EntrySpec",
    "GateSpec",
    "GpuName",
    "HardwareCompatibility",
    "InstanceGroupSpec",
    "InstanceKind",
    "LongInput",
    "ModelSpec",
    "OptimizationProfile",
    "Padding",
    "PerformanceHint",
    "PipelineModelSpec",
    "Precision",
    "QuantizationSpec",
    "QueuePolicySpec",
    "QueueSpec",
    "RateLimiterSpec",
    "RegressionSpec",
    "ResourceSpec",
    "RunSpec",
    "Runtime",
    "ServingSpec",
    "SettingsFile",
    "Sizes",
    "Spec",
    "StreamPriority",
    "TargetSpec",
    "TextSpec",
    "Tier",
    "VariantSpec",
    "VerifySpec",
    "VersionPolicySpec",
    "Weights",
    "build_spec",
    "default_profile",
    "find_precision_problem",
    "flags_from_precision",
    "load_run_spec",
    "load_serving_file",
    "load_settings",
    "parse_profile",
    "parse_run_spec",
    "parse_sizes",
    "profiles_from_seq_lens",
    "with_flags",
]
