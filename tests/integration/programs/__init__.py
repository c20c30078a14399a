"""What the workers of task queues run: RQ, Celery and huey import it in their own processes."""
