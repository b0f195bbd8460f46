"""Looking into a run, and taking it elsewhere; nothing here ever changes a run.

glance.py      what of a run is there, and what its plain JSON says: enough for a question, and quick
survey.py      the same, closer: whole footers, and the models of manifest, ledger and plan
views.py       the run as DuckDB views, over a file system that can only read the run's own files
examples.py    ten questions to begin with
query.py       one question: as a table, CSV, JSON or Parquet
shell.py       many questions, typed
harmless.py    hostile text made harmless for terminals and spreadsheets
copies.py      a corpus in which every document stands as often as it repeats, spread over the whole
export.py      JSON lines, materialised copies, tokens
"""
