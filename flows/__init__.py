"""Prefect flows: orchestration only. Named by strings here, so that nothing heavy is imported before it is needed."""

FLOWS = {  # name: flow, settings, estimate
    "taxonomy": ("taxonomy:taxonomy", "TaxonomyConfig", "estimates.taxonomy:estimate_taxonomy"),
    "annotate": ("annotate:annotate", "AnnotateConfig", "estimates.annotate:estimate_annotate"),
    "annotate_parts": ("annotate_parts:annotate_parts", "AnnotatePartsConfig", "estimates.annotate:estimate_annotate"),
    "audit": ("audit:audit", "AuditConfig", "audit:estimate_audit"),
    "graph": ("graph:graph", "GraphConfig", "estimates.graph:estimate_graph"),
    "align": ("align:align", "AlignConfig", "estimates.align:estimate_align"),
    "sft": ("sft:sft", "SftConfig", "estimates.sft:estimate_sft"),
    "select": ("selection:select", "SelectConfig", "estimates.selection:estimate_selection"),
    "rank": ("rank:rank", "RankConfig", "estimates.rank:estimate_rank"),
    "evaluate": ("align_evaluate:evaluate", "EvaluateConfig", "estimates.align:estimate_evaluate"),
    "sample": ("sample:sample_answers", "SampleConfig", "estimates.align:estimate_sample"),
    "daily": ("daily:daily", "DailyConfig", "estimates.daily:estimate_daily"),
    "apply": ("apply:apply", "ApplyConfig", ""),  # asks nobody
    "pipeline": ("pipeline:pipeline", "PipelineConfig", "estimates.pipeline:estimate_pipeline"),
}
