"""What the domain name system says about mail: asking it, and reading what it answers."""
