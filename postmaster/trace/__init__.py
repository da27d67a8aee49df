"""From log lines to the history of a message, and statistics. Reads logs where they are; writes nothing."""
