"""Everything that knows Postfix: its configuration and maps, its queue and its queue files."""
