# Everything a contributor types. The work is done by the scripts in tools/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run dev test soak fuzz bench sqlx fmt

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/' | expand -t 14

run: ## install what is missing, build, and run Bouncer on http://127.0.0.1:3000
	@exec tools/run

dev: ## the same, unoptimised, building and reloading at every change
	@exec tools/dev

test: ## everything: format, clippy, licences, unit, database, HTTP and browser tests
	@exec tools/test

soak: ## kill servers and databases under load for long, and look for lost or doubled messages
	@exec tools/soak

fuzz: ## let Schemathesis look for answers that the OpenAPI document does not describe
	@exec tools/fuzz

bench: ## measure speed and size; figures go to benches/README.md
	@exec tools/bench

sqlx: ## write .sqlx anew after a change of a query or of the schema
	@exec tools/sqlx write

fmt: ## format the Rust code
	@cargo fmt --all
