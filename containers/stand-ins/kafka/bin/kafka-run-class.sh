#!/bin/bash
# Runs a class of Kafka's jars, with the public image's variables for heap and options.
exec java ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_OPTS:-} \
    -Dlog4j2.configurationFile="${KAFKA_LOG4J_FILE:-/etc/kafka/docker/tools-log4j2.yaml}" -cp '/opt/kafka/libs/*' "$@"
