"""AWS Lambda's invocation models on Kafka and RabbitMQ brokers of your own."""

__version__ = "0.1.0"
