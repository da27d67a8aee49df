"""Everything that knows Dovecot: its 2.3 and 2.4 configuration, and doveadm."""
