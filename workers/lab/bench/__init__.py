"""`invites bench`: measures this machine, with a load generator and a server of its own."""
