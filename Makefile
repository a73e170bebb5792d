# `make run` and `make test` are all that is needed; both work on a fresh machine with a Rust
# toolchain. Builds and downloads are cached outside the checkout.

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/kipper
export CARGO_TARGET_DIR ?= $(CACHE)/target
export PATH := $(CACHE)/bin:$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/sbin

FUZZ_SECONDS ?= 300
RELEASE := cargo build --quiet --locked --release

.PHONY: run page assistant-model pollers test test-cluster lint bench bench-cluster soak fuzz package images setup fmt cluster-up cluster-down cluster-status

# The product on this machine, no cluster: prints the URL and a curl line per function.
run: setup-run page
	@echo "building kip; some minutes the first time, seconds later on"
	cargo run --locked -p kip -- dev deploy/examples

# The web console's page, which kip embeds. Without it kip does everything else.
page:
	@console/web/build || echo "kip is built without the console's page"

# The console's assistant with a small open model on this machine: the page in a browser, and kip.
assistant-model: setup page
	.ci/cargo build --workspace --lib --bins
	KIPPER_KIP=$$(.ci/cargo binaries)/kip console/assistant/local-model console/web/test model

# What `kip dev` starts for event functions, beside the `kip` of `make run`.
pollers:
	cargo build --locked -p kipper-poller -p kipper-bucket-watcher

# Everything: lint, unit and integration tests, the runtimes, the load test scenarios in CI size, and
# what needs a Kubernetes with KEDA.
test:
	.ci/test

# What needs a Kubernetes with KEDA: the chart, the controller, kip and the load scenarios against it.
# Brings the local cluster up and takes it down again, unless it was up.
test-cluster: setup
	deploy/local-cluster/test

lint: setup
	.ci/test lint

# Side by side with nginx, haproxy and Envoy, then every scenario in full size. Takes half an hour.
bench: setup
	$(RELEASE) -p kip -p kipper-interceptor -p kipper-scaler-adapter -p kipper-poller -p kipper-bucket-watcher -p kipper-bench -p kipper-loadtest
	$(CARGO_TARGET_DIR)/release/kipper-bench proxy
	$(CARGO_TARGET_DIR)/release/kipper-bench routes
	$(CARGO_TARGET_DIR)/release/kipper-bench observe
	$(CARGO_TARGET_DIR)/release/kipper-bench events
	$(CARGO_TARGET_DIR)/release/kipper-loadtest all

# Pollers that are killed again and again, or compete, over many more events than in `make test`.
soak: setup
	KIPPER_SOAK=1 .ci/cargo test -p kipper-poller --test it -- --nocapture killed_pollers four_pollers

# Every fuzz target for FUZZ_SECONDS, two at a time.
fuzz: setup
	fuzz/run $(FUZZ_SECONDS)

# Every figure and every fault against the local cluster in full size. An hour and a half.
bench-cluster: cluster-up
	eval "$$(deploy/local-cluster/cluster env)" && $$(.ci/cargo binaries)/kipper-loadtest cluster all

# A real Kubernetes with KEDA and Kipper on this machine. Root; half an hour when nothing is cached.
cluster-up: setup-cluster
	deploy/local-cluster/cluster build
	deploy/local-cluster/cluster up
	deploy/local-cluster/cluster images
	deploy/local-cluster/cluster install

# Stops all of it and leaves nothing but what was built.
cluster-down:
	deploy/local-cluster/cluster down

# One line per part; fails unless all of them run.
cluster-status:
	deploy/local-cluster/cluster status

# kip for other machines: a static binary with its man pages and completions.
package: setup-run page
	cli/package $(CACHE)/package

# The images as archives, for a registry or for nodes; prints their folder. RELEASE=1 optimises as a whole.
images: setup-images
	@RELEASE=$(RELEASE) deploy/images/archives

fmt:
	cargo fmt --all

setup:
	.ci/setup test

setup-run:
	.ci/setup run

setup-images:
	.ci/setup images

setup-cluster:
	.ci/setup cluster
