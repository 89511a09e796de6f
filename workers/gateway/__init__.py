"""The WebSocket gateway: devices connect, send events and receive notifications."""
