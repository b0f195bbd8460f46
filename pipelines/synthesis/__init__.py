"""Synthetic documents: planned, written, criticised, revised, gated, counted.

grid        what is written about: a cell is one value of every axis, chosen by seed
prompts     a cell as a chat; seed documents framed as data
composer    writes offline, from plans of its own; for tests and the demo
endpoint    writes by any OpenAI-compatible endpoint, inside datatrove's InferenceRunner
drafting    draft → critique → revise, for any backend
gates       what a document has to pass, each with a reason
generate    tasks, journal, resume, files and the ledger
diversity   how much of the grid is reached, how alike the documents are
"""

__all__: list[str] = []
