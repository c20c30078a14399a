"""The server as a Redis Cluster: its members. What clients are shown is in sessions/cluster.py."""
