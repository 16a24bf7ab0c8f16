"""Prefect flows: orchestration only. Named by strings here, so that nothing heavy is imported before it is needed."""

FLOWS = {  # name: flow, settings, estimate
    "taxonomy": ("taxonomy:taxonomy", "TaxonomyConfig", "estimate_taxonomy:estimate_taxonomy"),
    "annotate": ("annotate:annotate", "AnnotateConfig", "estimate_annotate:estimate_annotate"),
    "audit": ("audit:audit", "AuditConfig", "audit:estimate_audit"),
    "graph": ("graph:graph", "GraphConfig", "estimate_graph:estimate_graph"),
    "align": ("align:align", "AlignConfig", "estimate_align:estimate_align"),
    "sft": ("sft:sft", "SftConfig", "estimate_sft:estimate_sft"),
    "select": ("selection:select", "SelectConfig", "estimate_selection:estimate_selection"),
    "rank": ("rank:rank", "RankConfig", "estimate_rank:estimate_rank"),
    "evaluate": ("align_evaluate:evaluate", "EvaluateConfig", "estimate_align:estimate_evaluate"),
    "sample": ("sample:sample_answers", "SampleConfig", "estimate_align:estimate_sample"),
    "daily": ("daily:daily", "DailyConfig", "estimate_daily:estimate_daily"),
    "pipeline": ("pipeline:pipeline", "PipelineConfig", "estimate_pipeline:estimate_pipeline"),
}
