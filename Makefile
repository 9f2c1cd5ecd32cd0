# `make` tells what there is. All of it works from a clean clone: what is missing is set up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What holds the daemon against its description wants versions of its own.
API := .venv-api
# An environment for each Python of the machine.
PYTHONS := .venv-pythons
PACKAGING := setup.cfg setup.py pyproject.toml
SHELL := /bin/bash
# Debian keeps servers, mariadbd among them, where only root looks.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin

# Each process would compile all tests anew, and that in each stage.
unexport PYTHONDONTWRITEBYTECODE

# Some modules at a time, in the order that the tests themselves ask for. Most of them wait for real processes now and then.
SOME := --dist loadfile --no-loadscope-reorder
# Where they write: into memory, if there is plenty, because a database that is made for a test need not outlive the machine.
MEMORY := $(shell test "$$(df --output=avail /dev/shm 2>/dev/null | tail -1)" -ge 4000000 2>/dev/null && echo /dev/shm)
suite reference: export TMPDIR := $(or $(TMPDIR),$(MEMORY),/tmp)
# Nothing of it stays there but what failed.
SOME += --override-ini tmp_path_retention_policy=failed
# What hypothesis makes up is most often the same as before; `make EXAMPLES=10 api trial suite` looks further.
api trial suite reference: export EXAMPLES := $(or $(EXAMPLES),0.25)
# What `make test` consists of, the longest first. Three are done at a time, so that no processor waits for the end of one of them.
PARTS := suite trial check api reference
# What a recipe after `time` took.
export TIMEFORMAT = $@ took %R seconds, and of the processors %U + %S
# What is done before parts are begun together: only one program may install something at a time, and make would begin the longest part last,
# if that had to wait for anything.
FIRST := collect mariadb mysql9 promtool fail2ban chromium axe proxies php

.DEFAULT_GOAL := help
.PHONY: help run test check pythons hooks format bench bench-peers profile docs man api dist deb clean

help:
	@echo 'make run     start the server on SQLite, with example keys'
	@echo 'make test    lint, types and all tests, on SQLite and on a MariaDB server of their own'
	@echo 'make api     hold the server against its own description'
	@echo 'make check   lint, types and plain English only'
	@echo 'make pythons the unit and wire tests on each other Python from 3.11 on that the machine has'
	@echo 'make hooks   let git run make check before each commit'
	@echo 'make format  put the code into shape'
	@echo 'make bench   measure the daemon, beside two yardsticks; takes a quarter of an hour'
	@echo 'make bench-peers  the same beside etcd, ZooKeeper and Redis'
	@echo 'make profile a flame graph of the daemon under load, in profile.svg'
	@echo 'make docs    the pages, in docs/_build'
	@echo 'make man     the man pages anew, in etc/man'
	@echo 'make dist    build the wheel and the sdist into dist/'
	@echo 'make deb     build a Debian package of the wheel, into build/deb/'
	@echo 'make clean   remove what the others made'

# Each variable of yours wins over its example, and is not shown.
run: $(VENV)/installed
	@set -eu; \
	unset MYSQL_HOST MYSQL_PORT MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD; \
	read=$${RESOURCE_READ+your own}; lock=$${RESOURCE_READ_LOCK+your own}; write=$${RESOURCE_WRITE+your own}; \
	echo 'Keys, to be sent as x-api-key:'; \
	echo "  $${read:-read-key}   may read            (RESOURCE_READ)"; \
	echo "  $${lock:-lock-key}   may lock too        (RESOURCE_READ_LOCK)"; \
	echo "  $${write:-write-key}  may do everything   (RESOURCE_WRITE)"; \
	export RESOURCE_READ="$${RESOURCE_READ-read-key}"; \
	export RESOURCE_READ_LOCK="$${RESOURCE_READ_LOCK-lock-key}"; \
	export RESOURCE_WRITE="$${RESOURCE_WRITE-write-key}"; \
	export RESOURCED_STORE="$${RESOURCED_STORE:-sqlite:resourced.sqlite}"; \
	exec $(BIN)/resourced

test: $(VENV)/installed-dev $(API)/installed $(FIRST)
	@time $(MAKE) --no-print-directory --jobs=3 --output-sync=target FIRST= $(PARTS)

.PHONY: $(PARTS) collect

# What trial runs is left to it.
suite: $(FIRST)
	time $(BIN)/pytest --numprocesses 4 $(SOME) $$($(BIN)/python -m tests.marked not trial)

# It says whether each module has the markers that it should have, and keeps what pytest makes of it, or each worker would make that anew.
collect: $(VENV)/installed-dev
	$(BIN)/pytest --collect-only -p no:terminal

reference: $(filter collect mariadb,$(FIRST))
	time RESOURCED_REFERENCE_PATH=1 $(BIN)/pytest --numprocesses 2 $(SOME) -m reference_path $$($(BIN)/python -m tests.marked reference_path)

trial: $(VENV)/installed-dev
	time $(BIN)/python -m tests.under_trial

check: $(VENV)/installed-dev
	time { $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/python -m tests.english; }

pythons: $(VENV)/installed-dev
	time $(BIN)/python -m tests.pythons --others

# Whatever git is told of a hook holds for all worktrees of the clone.
hooks: $(VENV)/installed-dev
	$(BIN)/pre-commit install

api: $(API)/installed $(VENV)/installed-dev
	time $(BIN)/python -m tests.schemathesis $(API)/bin

$(API)/installed: tests/schemathesis/requirements.txt | $(BIN)/pip
	$(PYTHON) -m venv $(API)
	$(API)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(VENV)/installed-bench mariadb
	$(BIN)/python -m bench --output build/bench $(BENCH)
	$(BIN)/python -m bench.pools

bench-peers: $(VENV)/installed-bench mariadb
	@test -e /usr/share/java/zookeeper.jar -a -e /usr/bin/etcd -a -e /usr/bin/redis-server \
		|| { $(call apt,etcd-server redis-server zookeeper default-jre-headless); }
	$(BIN)/python -m bench --peers --output build/bench $(BENCH)

profile: $(VENV)/installed-dev mariadb
	$(BIN)/python -m bench.profile $(PROFILE)

docs: $(VENV)/installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder html docs docs/_build/html

# What the wheel brings, and a test holds against the pages.
man: $(VENV)/installed-dev
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --builder man docs docs/_build/man
	cp docs/_build/man/resourced.8 docs/_build/man/resourcectl.1 etc/man/

dist: $(VENV)/installed-dev
	$(BIN)/python -m build

# For the release of Debian on which it is made.
deb: dist
	etc/deb/build "$$(ls -t dist/*.whl | head -1)" $(BIN)/pip build/deb
	@ls build/deb/*.deb

clean:
	rm -rf $(VENV) $(API) $(PYTHONS) build dist docs/_build *.egg-info profile.svg _trial_temp* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find resourced twisted tests bench -name __pycache__ -prune -exec rm -rf {} +

# The stamps are older than the packaging when there may be something new to install.
$(VENV)/installed: $(PACKAGING) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: $(PACKAGING) | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-bench: $(PACKAGING) $(VENV)/installed-dev
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@

as_root = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# As root or through sudo: `$(call apt,packages)`.
apt = \
	if ! command -v apt-get >/dev/null; then echo 'Please install $(1), and run make again.' >&2; exit 1; fi; \
	echo 'Installing $(1) with apt-get'; \
	$(as_root) apt-get -qq update && \
	$(as_root) env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(1) >/dev/null

# Debian keeps the half of venv that installs pip in a package of its own.
$(BIN)/pip:
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,$(notdir $(PYTHON)) $(notdir $(PYTHON))-venv); }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "resourced needs Python 3.11 or later: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

# The tests start servers of their own, on free ports and in temporary directories; one that runs here is left alone.
.PHONY: mariadb
mariadb:
	@command -v mariadbd >/dev/null || command -v mysqld >/dev/null || { $(call apt,mariadb-server); }
	@! command -v apt-get >/dev/null || { test -e /usr/lib/galera/libgalera_smm.so && command -v rsync >/dev/null; } \
		|| { $(call apt,galera-4 rsync); }

# A server of MySQL 9, into build/. Where it cannot be had, the tests that need it are skipped.
.PHONY: mysql9
mysql9: $(VENV)/installed-dev
	@$(BIN)/python -m tests.mysql9

# One file of a package, to lie beside the interpreter: `$(call fetch,package,file)`.
fetch = \
	if ! command -v apt-get >/dev/null; then echo 'Please install $(notdir $(2)), and run make again.' >&2; exit 1; fi; \
	echo 'Fetching $(notdir $(2)) with apt-get'; \
	download='apt-get -qq -o APT::Sandbox::User=root download $(1)'; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	(cd "$$folder" && { $$download 2>/dev/null || { $(as_root) apt-get -qq update && $$download; }; }) && \
	dpkg-deb --fsys-tarfile "$$folder"/*.deb | tar -x -C "$$folder" ./$(2) && \
	install "$$folder"/$(2) $(BIN)

# It checks what is for Prometheus. Debian has it in the package of the server, which would be started if it were installed.
.PHONY: promtool
promtool: | $(BIN)/pip
	@command -v promtool >/dev/null || test -x $(BIN)/promtool || { $(call fetch,prometheus,usr/bin/promtool); }

# All of a package, to lie in a folder of its own, because the server in it would be started if it were installed: `$(call unpack,package)`.
unpack = \
	if ! command -v apt-get >/dev/null; then echo 'Please unpack $(1) into $(VENV)/$(1), and run make again.' >&2; exit 1; fi; \
	echo 'Unpacking $(1) with apt-get'; \
	download='apt-get -qq -o APT::Sandbox::User=root download $(1)'; \
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	(cd "$$folder" && { $$download 2>/dev/null || { $(as_root) apt-get -qq update && $$download; }; }) && \
	dpkg-deb --extract "$$folder"/*.deb "$$folder/all" && mv "$$folder/all" $(VENV)/$(1)

# Its filter is tested on the lines of the daemon.
.PHONY: fail2ban
fail2ban: | $(BIN)/pip
	@test -d $(VENV)/fail2ban || { $(call unpack,fail2ban); }

# The proxies that stand before two daemons in the tests. Of nginx the program is enough; HAProxy is not started when it is installed, and its
# own configuration has no port.
.PHONY: proxies
proxies: | $(BIN)/pip
	@command -v nginx >/dev/null || test -x $(BIN)/nginx || { $(call fetch,nginx,usr/sbin/nginx); }
	@command -v haproxy >/dev/null || { $(call unstarted); $(call apt,haproxy); }

# For what the original server's clients are written in. Without apt-get, the tests of it are skipped if there is none.
.PHONY: php
php:
	@! command -v apt-get >/dev/null || php -m 2>/dev/null | grep -qx curl || { $(call apt,php-cli php-curl); }

# What a package that is installed asks whether it may start its server (see invoke-rc.d), and is told no; until this shell ends.
unstarted = \
	policy=/usr/sbin/policy-rc.d; \
	test -e "$$policy" || { trap '$(as_root) rm -f /usr/sbin/policy-rc.d' EXIT; \
		printf '\043!/bin/sh\nexit 101\n' | $(as_root) tee "$$policy" >/dev/null; $(as_root) chmod 755 "$$policy"; }

# The page is tested in a browser, which needs no display.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
		|| { $(call apt,chromium); }

# What looks in the page for obstacles to people. Without npm, its tests are skipped.
AXE := axe-core-4.14.1
AXE_SHA256 := e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
.PHONY: axe
axe: build/$(AXE).js
build/$(AXE).js:
	@command -v npm >/dev/null || { echo 'There is no npm, so the page is not tested by axe-core.'; exit 0; }; \
	mkdir -p build && folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
	npm pack --silent --pack-destination "$$folder" $(subst axe-core-,axe-core@,$(AXE)) >/dev/null && \
	echo "$(AXE_SHA256)  $$folder/$(AXE).tgz" | sha256sum --check --quiet && \
	tar -xOzf "$$folder/$(AXE).tgz" package/axe.min.js >"$$folder/axe.js" && rm -f build/axe-core-*.js && mv "$$folder/axe.js" $@
