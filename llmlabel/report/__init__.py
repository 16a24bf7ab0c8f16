"""The report of a run: one HTML file that needs nothing but itself."""

from llmlabel.report.render import write_report

__all__ = ["write_report"]
