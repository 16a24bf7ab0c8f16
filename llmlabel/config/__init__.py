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
from llmlabel.config.common import AskingConfig, CommonConfig, LabellingConfig, Roles, without_url
from llmlabel.config.daily import DailyConfig
from llmlabel.config.labelling import AnnotateConfig, AuditConfig, GraphConfig, TaxonomyConfig
from llmlabel.config.load import load_config
from llmlabel.config.pipeline import PipelineConfig
from llmlabel.config.selection import SelectConfig

__all__ = [
    "AlignConfig", "AnnotateConfig", "AskingConfig", "AuditConfig", "CommonConfig", "DailyConfig", "EvaluateConfig",
    "GraphConfig", "JudgingConfig", "LabellingConfig", "PipelineConfig", "RankConfig", "Roles", "SampleConfig", "SamplingConfig",
    "SelectConfig", "SftConfig", "TaxonomyConfig", "TrainingConfig",
    "load_config", "without_url",
]  # fmt: skip
