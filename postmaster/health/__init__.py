"""Whether mail works: checks that give findings, run all at once, each with a deadline."""
