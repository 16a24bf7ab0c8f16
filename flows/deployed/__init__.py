"""Flows on a Prefect server."""
