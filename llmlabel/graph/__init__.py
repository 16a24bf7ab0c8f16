"""LLM-GNN: label every node of a graph for the price of a few.

Choose nodes (`selectors`), have them labelled, drop what is likely wrong (`filters`), train on the rest (`gnns`), label all.
"""
