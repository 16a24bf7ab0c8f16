"""Every setting, in pydantic models that the command line, a YAML file and Prefect's form share.

Order of precedence: YAML file < environment (`LLMLABEL_SEED=1`) < command line and `--set a.b=c`.
"""

from llmlabel.config.alignment import AlignConfig, EvaluateConfig, JudgingConfig, RankConfig, SftConfig, TrainingConfig
from llmlabel.config.common import AskingConfig, CommonConfig, LabellingConfig, Roles, without_url
from llmlabel.config.labelling import AnnotateConfig, AuditConfig, GraphConfig, TaxonomyConfig
from llmlabel.config.load import load_config
from llmlabel.config.selection import SelectConfig

__all__ = [
    "AlignConfig", "AnnotateConfig", "AskingConfig", "AuditConfig", "CommonConfig", "EvaluateConfig", "GraphConfig",
    "JudgingConfig", "LabellingConfig", "RankConfig", "Roles", "SelectConfig", "SftConfig", "TaxonomyConfig", "TrainingConfig",
    "load_config", "without_url",
]  # fmt: skip
