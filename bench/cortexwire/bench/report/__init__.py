"""The report of a measurement: one HTML page that needs nothing but itself, made from the result's plain values."""

from cortexwire.bench.report.page import report_html, write_page

__all__ = ["report_html", "write_page"]
