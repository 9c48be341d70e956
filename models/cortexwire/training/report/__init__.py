"""The report of a comparison: one HTML page that needs nothing but itself, made from the result's plain values."""

from cortexwire.training.report.page import report_html, write_report

__all__ = ["report_html", "write_report"]
