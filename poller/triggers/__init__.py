"""What starts functions by itself, over their asynchronous queues: notifications of S3 (B.6), and schedules."""
