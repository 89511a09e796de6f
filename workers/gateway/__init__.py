"""The WebSocket gateway: devices connect, say what they do, and hear what concerns them."""
