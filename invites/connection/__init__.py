"""How a server is reached: what a URL says, clients with every time-out stated, Sentinel and Cluster."""
