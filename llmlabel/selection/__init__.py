"""Response-generation strategies: which way of writing the training answers fits the model that will be trained on them.

Source: Ren, Chen, Liu 2025, self-aligned perplexity (arXiv 2502.11779v3); per prompt: GRAPE (arXiv 2502.04194).
"""
