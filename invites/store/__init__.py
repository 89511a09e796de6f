"""The functions on the server: composed from Lua, loaded, and called by typed methods."""
