"""A report of runs: what was measured beside what each variant is, as one HTML file or Markdown."""
