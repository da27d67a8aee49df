"""Where mail goes: explaining one address, checking the whole directory, local aliases and forwards.

Explaining reads what Postfix reads, in the way Postfix does; the directory only names what it finds there.
"""
