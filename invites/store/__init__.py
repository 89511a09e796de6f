"""The server's functions: composed from Lua, loaded, and called with one typed method each."""
