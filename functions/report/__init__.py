"""``report.html``: one self-contained file with the answer, its plots and all figures."""
