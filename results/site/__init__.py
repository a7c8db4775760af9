"""Static site of results stores: plain files that open from disk and from any host, without a server.

Needs jinja2 and Pillow, and neither torch nor streamlit. Texts of a store are untrusted: the template engine escapes
and bounds all of them (`rendering`), and no text of a store becomes a path (`names`).
"""

from results.site.build import SiteOptions, SiteSummary, write_site

__all__ = ["SiteOptions", "SiteSummary", "write_site"]
