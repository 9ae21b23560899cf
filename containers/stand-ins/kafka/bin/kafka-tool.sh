#!/bin/bash
# Every kafka-*.sh tool is a link to this file: its own name says which class to run.
case $(basename "$0") in
    kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
    kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
    kafka-get-offsets.sh) class=org.apache.kafka.tools.GetOffsetShell ;;
    kafka-console-producer.sh) class=org.apache.kafka.tools.ConsoleProducer ;;
    kafka-console-consumer.sh) class=org.apache.kafka.tools.consumer.ConsoleConsumer ;;
    kafka-configs.sh) class=kafka.admin.ConfigCommand ;;
    kafka-acls.sh) class=org.apache.kafka.tools.AclCommand ;;
    kafka-broker-api-versions.sh) class=org.apache.kafka.tools.BrokerApiVersionsCommand ;;
    *) echo "$(basename "$0") is not part of this stand-in for apache/kafka" >&2; exit 2 ;;
esac
exec "$(dirname "$0")/kafka-run-class.sh" "$class" "$@"
