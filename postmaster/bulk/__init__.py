"""The directory as files: export, import, a document to compare and apply, and other systems' directories."""
