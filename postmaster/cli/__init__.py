"""The command line: one module per noun. Parses, calls the rooms below, hands the result to render."""
