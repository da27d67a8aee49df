"""What changes the directory *and* the servers: locking a stolen account, renaming, removing, restoring.

The directory is changed first, as one transaction and one journal entry; what follows on the servers can be
done again at any time and ends the same.
"""
