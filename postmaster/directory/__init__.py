"""The directory: domains, users, aliases and forwards; the truth, its journal, and publishing.

Start at `database.py` (open it, read, change). Rules that span objects are in `graph.py`; what
servers read is in `lookups.py`, how it gets there in `publish.py`.
"""
