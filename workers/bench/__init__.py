"""`invites bench`: what this machine can do, measured with a load generator and a server of its own."""
