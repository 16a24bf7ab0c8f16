"""The report of a run: one HTML file that needs nothing but itself."""

from llmlabel.report.pictures import charts, picture
from llmlabel.report.render import page_of, write_report

__all__ = ["charts", "page_of", "picture", "write_report"]
