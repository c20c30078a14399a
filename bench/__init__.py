"""Benchmarks: `macro` compares whole servers side by side; their results live in results/."""
