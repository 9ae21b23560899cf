# Every task of this project; a plain `make` lists them.
# The work is in containers/*.sh, each idempotent; targets only say what stands on what.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: cgroups languages tools docs help up down clean test lint checked audit unit covered fuzz contract integration secure faults soak e2e bench bench-growth bench-quick images engine compose s3gateway aws-servers venv format pins brokers coverage

python := .venv/bin/python
pytest := $(python) -m pytest
with_brokers := containers/with_brokers.sh
measured := build/coverage
# Integration tests that depend on what a client does on the wire; `make secure` runs all of them on brokers with TLS and
# logins. `make test` has time for both contract suites there, and for the tests that are marked `secure`: the pipeline,
# which has every way to fail and every kind of dead letter, kill -9 of a queue and between a dead letter and its commit,
# a record of 20 MB, and commits. The rest asks nothing of a login that these do not.
on_the_wire := $(patsubst %,tests/integration/test_%.py,at_least_once kafka_source pipeline rabbitmq_dead_lettering \
    rabbitmq_limits rabbitmq_source rabbitmq_states)
# Those that `make faults` runs with, one after the other.
kafka_clients := kafka-python confluent-kafka

help:
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: venv engine compose images ## start Kafka, RabbitMQ and the poller, run the sample through them, show the table
	@containers/up.sh

down: ## stop what `make up` started; the brokers' data stays
	@! docker info >/dev/null 2>&1 || docker compose --profile '*' down --remove-orphans

clean: ## stop everything, remove the brokers' data and what was built (not .venv)
	@! docker info >/dev/null 2>&1 || docker compose --profile '*' down --remove-orphans --volumes
	@docker image rm poller >/dev/null 2>&1 || true
	@rm -rf build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

test: checked covered brokers e2e coverage ## everything: lint, types, unit, contract, integration, end-to-end, coverage

lint: checked audit ## ruff (rules and format), mypy --strict, bandit, pip-audit

# What needs no network, and so says the same tomorrow.
checked: venv
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy --strict poller/
	@$(python) -m bandit --quiet --configfile pyproject.toml --recursive poller producers containers

audit: venv
	@$(python) containers/audit.py

unit: venv ## quick tests that need no broker (a minute); `make test` runs the slower ones, too
	@$(pytest) tests/unit -n 2 -m "not slow"

fuzz: venv ## the fuzz tests with FUZZ_EXAMPLES inputs each (5,000)
	@$(pytest) tests/fuzz -n 2 --hypothesis-profile=long

# The quick ones with coverage, which takes half as long again, then the rest: these wait for processes and for time to
# pass, so that three of them run side by side on two cores.
covered: venv tools
	@mkdir -p $(measured)
	@COVERAGE_FILE=$(measured)/unit $(pytest) tests/unit -n 2 -m "not slow" --cov-branch --cov-report= \
	    $(addprefix --cov=poller.,policy model records runs)
	@$(pytest) tests/unit tests/fuzz -n 3 -m "slow"

# Node.js and Go for the tests of handlers in other languages, from the distribution where the machine has none.
tools:
	@containers/languages.sh tools

languages: venv ## handlers and callers in other languages with AWS's own libraries, built anew when they have changed (before a release)
	@$(pytest) tests/languages

cgroups: venv ## limits that a kernel enforces, on one of their own: a virtual machine, with Debian's kernel (5 to 10 min)
	@containers/own_kernel.sh $(pytest) -p no:cacheprovider --color=no tests/cgroups

contract: venv engine images ## one suite for every source, one for every destination, on real brokers too
	@$(with_brokers) $(pytest) tests/contract

integration: venv engine images s3gateway aws-servers ## rebalance, broker restart, kill -9: nothing lost
	@$(with_brokers) $(pytest) tests/integration

secure: venv engine images ## the integration tests on brokers with TLS: SCRAM, client certificates, amqps (15 min)
	@POLLER_SECURE=full $(with_brokers) $(pytest) $(on_the_wire)

faults: venv engine images ## every fault in full: kills, hangs, storms, alarms; writes build/faults.json
	@for client in $(kafka_clients); do \
	    POLLER_FAULTS=full POLLER_KAFKA_CLIENT=$$client $(with_brokers) $(pytest) tests/faults || exit 1; done

soak: venv engine images ## 30 minutes of load and a fault a minute (SOAK_MINUTES=2 for a try)
	@POLLER_FAULTS=soak $(with_brokers) $(pytest) -s tests/faults/soak.py

# Contract, integration and the short form of the faults in one run. Most of the time these tests wait for a broker, so
# two of them run side by side, each process with brokers of its own.
brokers: venv engine images s3gateway aws-servers
	@$(with_brokers) $(pytest) tests/contract tests/integration tests/faults -n 2 --dist loadfile

e2e: venv engine compose images ## docker compose and the command line, as a user
	@$(with_brokers) $(pytest) tests/e2e

coverage:
	@echo "Branch coverage of poller/policy and the values it works on (unit tests):"
	@COVERAGE_FILE=$(measured)/unit $(python) -m coverage report --show-missing --fail-under=100

bench: venv engine images ## measure beside floors and peers (20 min); writes build/bench.json and the figures of docs/
	@$(with_brokers) $(python) -m tests.bench
	@$(python) -m tests.bench --publish

bench-growth: venv engine images ## the same for mappings, partitions, batches, values, a long backlog (15 min)
	@$(with_brokers) $(python) -m tests.bench --only growth
	@$(python) -m tests.bench --publish

bench-quick: venv engine images ## the same as bench in a few minutes, for orientation; publishes nothing
	@$(with_brokers) $(python) -m tests.bench --quick

format: venv ## let ruff format and repair what it can
	@$(python) -m ruff check --fix --quiet . || true
	@$(python) -m ruff format .

venv: ## .venv from the pinned requirements
	@containers/venv.sh

engine: ## a Docker engine that answers: the one that is there, else the distribution's
	@containers/engine.sh

compose: venv
	@containers/compose.sh

images: engine ## the brokers' and Python's images: pulled, or stand-ins where no registry answers
	@containers/images.sh

s3gateway: ## a real S3 server for tests, built with Go: 80 s the first time
	@containers/s3_gateway.sh

aws-servers: venv ## ElasticMQ and moto, which answer for SQS, SNS and EventBridge in tests: fetched once
	@containers/aws_servers.sh

docs: venv ## write the generated parts of the documentation anew
	@$(python) docs/generate.py

pins: venv ## write requirements*.txt anew from pyproject.toml
	@containers/pins.sh
