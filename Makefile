# make demo | test | bench | lint   each sets up what it needs on first use (no ROS, no Docker, no GPU needed).
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV := .venv

.PHONY: help ready setup built-messages demo day-one test test-unit test-all test-kilted bench bench-peers soak stream-test faults mutants lint clean
help:
	@echo "make demo   five episodes of a simulated arm through the whole ROS 2 graph"
	@echo "make test   lint, unit tests, and tests of the live graph (minutes)"
	@echo "make test-unit  unit tests alone (some minutes)"
	@echo "make test-all   all of that, what trains for minutes, every mutant and every fault (most of an hour)"
	@echo "make test-kilted  unit tests and some of the live graph on ROS 2 Kilted, in an environment of its own"
	@echo "make bench  latency, jitter, throughput: a table and runs/bench/bench.json"
	@echo "make bench-peers  the training step beside public DreamerV3 implementations: a table and runs/peers/peers.json"
	@echo "make stream-test MINUTES=10  the command stream beside a learner and a CPU hog: lateness, and is each late tick told"
	@echo "make soak HOURS=1  the whole graph with recorder and learner: does any node grow"
	@echo "make faults every failure on the live graph, with measured stop times, and runs/faults/faults.json"
	@echo "make mutants  takes every check of the safety monitor out in turn: a test must fail"
	@echo "make lint   ruff, mypy, import rules"
	@echo "make clean  removes what was built, and caches; what you recorded and trained stays"

# -- set-up: scripts/set_up.sh, whose parts cost nothing once they are there ------------------------------
# What a simulated robot runs on; training, cameras and tests are installed when they are first used.
ready:
	@scripts/set_up.sh messages

setup: ready
	@scripts/set_up.sh all

# The built messages of the repository, for this Python and processor; after a change of src/fosp_msgs.
built-messages: setup
	@. scripts/env.sh; python scripts/built_messages.py pack

demo: ready
	@./fosp demo

bench: setup
	@./fosp bench

# sheeprl, in an environment of its own; and dreamerv3-torch, where DREAMERV3_TORCH names a checkout of it.
bench-peers: setup
	@scripts/bench_peers.sh

MINUTES := 10
HOURS := 1
soak: setup
	@./fosp bench --endurance $$(awk 'BEGIN { print 60 * $(HOURS) }')

stream-test: setup
	@./fosp bench --stream $(MINUTES)

faults: setup
	@. scripts/env.sh; python tests/faults/run_faults.py

mutants: setup
	@. scripts/env.sh; python tests/faults/mutants.py

lint: setup
	@. scripts/env.sh; ruff check . && ruff format --check . && scripts/typecheck.sh && lint-imports

# Tests without a ROS graph run side by side, with one thread each, or they would fight for the cores.
PURE := OMP_NUM_THREADS=1 pytest -n auto --dist worksteal
# Tests of the live graph measure times, so no more than two run at once, each in a ROS domain of its own.
# On the machines of CI, which others load, a test that failed gets a second try, and the summary names it.
LIVE := pytest tests -n 2 --dist loadfile $(if $(CI),--reruns 1 -rR)

test-unit: setup
	@. scripts/env.sh; $(PURE) src -m "not slow and not long"

test: lint
	@. scripts/env.sh; $(PURE) -m "not live and not long" && $(LIVE) -m "live and not long"

test-all: lint
	@. scripts/env.sh; $(PURE) -m "not live" && $(LIVE) -m live
	@$(MAKE) --no-print-directory test-kilted mutants faults

# The next ROS distribution, from its wheels: docs/compatibility.md. The environment is made on first use.
KILTED_LIVE := test_perception_and_policy.py test_graph.py test_imports_of_nodes.py monitor
test-kilted:
	@scripts/other_ros.sh kilted
	@scripts/other_ros.sh kilted $(KILTED_LIVE:%=tests/%) -m "not long"

# docs/day_one.md, command by command, with a scripted gamepad: some minutes.
day-one: setup
	@. scripts/env.sh; pytest -m long tests/test_day_one.py

clean:
	rm -rf build install log .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "left as they are: runs/ (recordings, bundles, reports) and .venv (installed packages)"
