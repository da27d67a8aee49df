"""The command line: one module per noun. Parses, calls the rooms below, hands the result to render."""

import gc

# Loading makes many objects that stay and no garbage; going over them again and again is a tenth of the
# time that a short command takes. Set here, before anything else of it is loaded.
gc.set_threshold(50_000)
