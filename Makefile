# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ARGS is handed to the tools: make unit ARGS='-k digest', make integration ARGS=k8scr_push

export LC_ALL := C.UTF-8
DEV := python3 tests/dev
CLUSTER := python3 tests/cluster
TEST := $(DEV) test $(if $(REFUSE_SKIPS),--refuse-skips) --pass-on='$(ARGS)'

.PHONY: help demo packages test lint sanity unit integration live bench chaos cluster-up cluster-down cluster-status env format clean

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1#\2/p' $(MAKEFILE_LIST) | column -t -s '#'

demo:  ## Bring a cluster up, deliver images into it, and run one of them
	@$(DEV) demo

packages:  ## Install the Debian packages that the tests need
	@$(CLUSTER) packages

test: packages  ## Check everything, on a real cluster
	@$(DEV) test $(if $(REFUSE_SKIPS),--refuse-skips)

lint:  ## Format, lint and types
	@$(DEV) test lint

sanity:  ## ansible-test sanity
	@$(TEST) sanity

unit:  ## Tests without a cluster
	@$(TEST) unit

integration: packages cluster-up  ## ansible-test integration, on the cluster
	@$(TEST) integration

live: packages cluster-up  ## pytest, on the cluster
	@$(TEST) live

bench: packages cluster-up  ## Measure, side by side with other ways: make bench ARGS='--quick --output docs/benchmark'
	@$(DEV) bench --pass-on='$(ARGS)'

chaos: packages cluster-up  ## A thousand deliveries with faults: make chaos ARGS='--seed 7 --only 417'
	@$(DEV) chaos --pass-on='$(ARGS)'

cluster-up:  ## Bring the test cluster up, or bring back what is missing of it
	@$(CLUSTER) up

cluster-down:  ## Take it down and leave nothing
	@$(CLUSTER) down

cluster-status:  ## Say how it is
	@$(CLUSTER) status

env:  ## Print what eval "$(make -s env)" makes of a shell: cluster, tools and collection at hand
	@$(DEV) env

format:  ## Format the Python files
	@$(DEV) format

clean:  ## Delete what was built of this checkout
	@$(DEV) clean
