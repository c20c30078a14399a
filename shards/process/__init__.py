"""The shard process: its loop, its control link, the port of cluster-aware clients, DEBUG."""
