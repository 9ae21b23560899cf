"""Settings that are options of the command line, and their help. Imports nothing, so that `--help` is quick."""

from __future__ import annotations

SETTINGS = {
    "Port": "of Lambda's API, /metrics, /healthz and /readyz; 0 takes a free one (9001)",
    "ApiPort": "of the template's HTTP and REST APIs, if it has some; 0 takes a free one (9002)",
    "Bind": "address on which the ports are opened (127.0.0.1)",
    "InsecureBind": "open the port to other machines without looking at signatures",
    "RequireSignature": "answer calls only that are signed with a key of the settings' SignatureKeys",
    "Hosts": "names by which the service is called, with commas between; addresses and localhost always are",
    "AccountConcurrency": "invocations at once of all functions (1000)",
    "Workers": "processes that share the work, 1 to 64, or auto: one for each processor core (1)",
    "LogFormat": "auto, text or json; auto is text on a terminal and JSON lines elsewhere (auto)",
    "LogLevel": "DEBUG, INFO, WARNING or ERROR (INFO)",
    "IdleTimeout": "seconds without work after which an environment is stopped (300)",
    "ShutdownGrace": "seconds that handlers in flight get at the end (30)",
    "RevocationGrace": "seconds that batches in flight get when a Kafka partition is taken away (1)",
    "TimeScale": "60 makes a minute a second, for pauses between retries and for ages of records (1)",
    "StateFolder": "folder of what outlives the program; relative to the template's folder (.poller)",
    "AsyncQueue": "RabbitMQ broker for asynchronous events, amqp://user:password@host:5672/virtual-host (StateFolder)",
    "AllowDrift": "let calls of the API change what the template declares, until the next start",
    "S3Events": "queue or topic with notifications of S3: amqp://user:password@host:5672/queue, kafka://host:9092/topic",
    "RuntimeClient": "poller or aws: whose clients run handlers of Python and Node.js (poller)",
    "StrictRuntime": "refuse functions whose very runtime this machine has not, instead of taking the nearest",
    "LogFiles": "auto, true or false: functions' logs in files, too; auto is true on a terminal (auto)",
    "LogFilesSize": "megabytes that the log files of one function take at most (64)",
    "Reload": "auto, true or false: run code anew once it is saved; auto is where watchfiles is installed (auto)",
    "EnforceMemory": "true or false: kill what is over MemorySize, EphemeralStorage or 1,024 threads (true)",
    "Debug": "FUNCTION or FUNCTION:PORT that waits for a debugger, with one environment and no timeouts",
    "KafkaClient": "auto, kafka-python or confluent-kafka; auto is confluent-kafka where it is installed (auto)",
    "AccountId": "account in ARNs (123456789012)",
    "Region": "region in ARNs and for handlers (AWS_REGION, else us-east-1)",
}
"""Settings that are options, and their help: names as in the template, defaults in brackets."""

FLAGS = frozenset({"AllowDrift", "InsecureBind", "RequireSignature", "StrictRuntime"})
"""Those without a value."""
