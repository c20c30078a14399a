"""The server as a Redis Cluster: what outlives a restart. Formats for clients: sessions/cluster.py."""
