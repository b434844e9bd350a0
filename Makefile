# Copyright: k8scr.core contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# ARGS is passed to the tools: make unit ARGS='-k digest', make integration ARGS=k8scr_push

export LC_ALL := C.UTF-8
DEV := python3 tests/dev
CLUSTER := python3 tests/cluster
TEST := $(DEV) test $(if $(FAIL_ON_SKIPS),--fail-on-skips) --pass-on='$(ARGS)'

.PHONY: help demo packages test lint sanity unit integration live charts bench captures chaos chaos-prunes bundle-kills cluster-up cluster-down cluster-status env format clean

help:  ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1#\2/p' $(MAKEFILE_LIST) | column -t -s '#'

demo:  ## Start a cluster, deliver images into it, and run one of them
	@$(DEV) demo

packages:  ## Install the Debian packages that the tests need
	@$(CLUSTER) packages

test: packages  ## Run all checks and tests, including those on the cluster
	@$(DEV) test $(if $(FAIL_ON_SKIPS),--fail-on-skips)

lint:  ## Check format, style and types
	@$(DEV) test lint

sanity:  ## Run ansible-test sanity
	@$(TEST) sanity

unit:  ## Run the tests that need no cluster
	@$(TEST) unit

integration: packages cluster-up  ## Run ansible-test integration on the cluster
	@$(TEST) integration

live: packages cluster-up  ## Run the pytest tests on the cluster
	@$(TEST) live

charts: packages cluster-up  ## Install real charts of GitHub on the cluster, and compare their images with those found
	@$(TEST) charts

bench: packages cluster-up  ## Run the benchmarks on the cluster: make bench ARGS='--quick --output docs/benchmark'
	@$(DEV) bench --pass-on='$(ARGS)'

captures: packages cluster-up  ## Write the pictures of terminals in the documentation: make captures ARGS='--output docs/images'
	@$(DEV) captures --pass-on='$(ARGS)'

chaos: packages cluster-up  ## Run a thousand transfers with faults: make chaos ARGS='--seed 7 --only 417'
	@$(DEV) chaos --pass-on='$(ARGS)'

chaos-prunes: packages cluster-up  ## Prune a registry 200 times with faults: make chaos-prunes ARGS='--prunes 200 --seed 1'
	@$(DEV) chaos-prunes --pass-on='$(ARGS)'

bundle-kills:  ## Kill k8scr_bundle 200 times: make bundle-kills KILLS=500
	@K8SCR_BUNDLE_KILLS=$(or $(KILLS),200) $(DEV) test unit --pass-on='-k test_bundle_kills $(ARGS)'

cluster-up:  ## Start the test cluster, or its missing components
	@$(CLUSTER) up

cluster-down:  ## Stop the test cluster and remove all of its files
	@$(CLUSTER) down

cluster-status:  ## Print the state of the test cluster
	@$(CLUSTER) status

env:  ## Print exports for the cluster, the tools and the collection: eval "$(make -s env)"
	@$(DEV) env

format:  ## Format the Python files
	@$(DEV) format

clean:  ## Delete the build results of this checkout
	@$(DEV) clean
