"""A lab: a private, throwaway Postfix and Dovecot under one folder, made through the same setup code.

For trying things, for the demo, for the tests. It listens on 127.0.0.1 alone, sends what is not for
itself to a port of its own (`outbound`), and touches nothing outside its folder.
"""
