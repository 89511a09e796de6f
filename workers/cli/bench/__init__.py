"""`invites bench`: measurements on this machine, one file each."""
