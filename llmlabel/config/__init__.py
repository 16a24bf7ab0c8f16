"""Every setting, in pydantic models that the command line, a YAML file and Prefect's form share.

Order of precedence: YAML file < environment (`LLMLABEL_SEED=1`) < command line and `--set a.b=c`.
"""

from llmlabel.config.alignment import (
    AlignConfig,
    EvaluateConfig,
    JudgingConfig,
    RankConfig,
    SampleConfig,
    SamplingConfig,
    SftConfig,
    TrainingConfig,
)
from llmlabel.config.common import AskingConfig, CommonConfig, FlowConfig, LabellingConfig, Roles, without_url
from llmlabel.config.daily import DailyConfig
from llmlabel.config.labelling import AnnotateConfig, AuditConfig, GraphConfig, TaxonomyConfig
from llmlabel.config.load import load_config
from llmlabel.config.pipeline import PipelineConfig
from llmlabel.config.selection import SelectConfig
from llmlabel.config.sharding import AnnotatePartsConfig, ApplyConfig, RunnerConfig

__all__ = [
    "AlignConfig", "AnnotateConfig", "AnnotatePartsConfig", "ApplyConfig", "AskingConfig", "AuditConfig", "CommonConfig",
    "DailyConfig", "EvaluateConfig", "FlowConfig", "GraphConfig", "JudgingConfig", "LabellingConfig", "PipelineConfig",
    "RankConfig", "Roles", "RunnerConfig", "SampleConfig", "SamplingConfig", "SelectConfig", "SftConfig", "TaxonomyConfig",
    "TrainingConfig",
    "load_config", "without_url",
]  # fmt: skip
