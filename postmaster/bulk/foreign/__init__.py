"""Other systems' directories, read as entries: from a live database, a dump of it, or the system's own files.

A source is read and never written. What it has that there is no counterpart for here is a note, and what
cannot be read is a problem: nothing is left out silently.
"""
