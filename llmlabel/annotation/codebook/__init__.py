"""Labelling instructions with measured gain."""
