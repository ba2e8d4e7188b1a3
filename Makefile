# Everything runs in an environment of its own under .venv/, made from the hash-pinned files in
# requirements/. The machine needs make, git and one of Python 3.11-3.13.

# Which Python: the first that runs and is new enough. `make PYTHON=...` overrides.
PYTHON ?=
VENV   := .venv
DEPLOY := .venv-deploy
CHECKOV := .venv-checkov
JUDGE  := .venv-second-judge
LAMBDA := .venv-lambda

# uv reads no configuration of pip's, which on many a machine alone says where packages come from,
# and trusts the certificate authorities that it brings, unless told to trust the machine's.
PIP_INDEX = $(VENV)/bin/python -m pip config list 2>/dev/null | sed -n "s/^[^=]*\.index-url='\(.*\)'$$/\1/p" | head -n 1
PACKAGE_INDEX = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${UV_INDEX_URL:-$$($(PIP_INDEX))}}"
UV = $(PACKAGE_INDEX) $(VENV)/bin/uv

export UV_SYSTEM_CERTS     ?= 1
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS      := 1
export SAM_CLI_TELEMETRY   := 0
# Without bytecode, which images of containers often forbid, each of the hundred processes of the
# tests would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# What would bring in modules from elsewhere, or install to elsewhere or other than what is pinned.
unexport PYTHONHOME PYTHONPATH PIP_PREFIX PIP_TARGET UV_EXCLUDE_NEWER UV_REQUIRE_HASHES
export PIP_USER := 0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

.PHONY: help
help: ## list the targets
	@echo "make <target>, with:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  %-20s %s\n", $$1, $$2 }'

# --- Environments ------------------------------------------------------------------------------
# Each stamp adds to the one before it, so that `make demo` installs no more than it needs.

SUITABLE = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(VENV)/.uv: requirements/uv.txt
	@echo "installing $<"; found=; for python in $(or $(PYTHON),python3.13 python3.12 python3.11 python3); do \
	    if "$$python" -c '$(SUITABLE)' >/dev/null 2>&1; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	    echo "$(or $(PYTHON),no python3 on PATH): Python 3.11, 3.12 or 3.13 with its venv module is needed; name one by PYTHON=" >&2; \
	    exit 1; \
	fi; \
	"$$found" -m venv $(VENV) \
	    && $(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --require-hashes \
	        --only-binary :all: -r requirements/uv.txt
	@touch $@

# A line for the seconds in which nothing else is seen, then the installation.
INSTALL = @echo "installing $<" && $(UV) pip install --quiet --python $(VENV)/bin/python --require-hashes --only-binary :all:

$(VENV)/.local: requirements/local.txt pyproject.toml $(VENV)/.uv
	$(INSTALL) -r $<
	@$(UV) pip install --quiet --python $(VENV)/bin/python --offline --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.local
	$(INSTALL) -r $<
	@touch $@

$(VENV)/.lint: requirements/lint.txt tools/asl-validator/package-lock.json tools/jsonata/package-lock.json $(VENV)/.test
	$(INSTALL) -r $<
	@for tool in asl-validator jsonata; do \
	    PATH="$(CURDIR)/$(VENV)/bin:$$PATH" npm ci --prefix tools/$$tool --silent --no-audit --no-fund || exit; \
	done
	@touch $@

# Environments of their own, for tools that pin what others need newer.
$(DEPLOY)/.deploy $(CHECKOV)/.checkov $(JUDGE)/.second-judge $(LAMBDA)/.lambda: $(VENV)/.uv
	@echo "installing $(filter %.txt,$^)"
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes --only-binary :all: -r $(filter %.txt,$^)
	@touch $@
$(DEPLOY)/.deploy: requirements/deploy.txt
$(CHECKOV)/.checkov: requirements/checkov.txt
$(JUDGE)/.second-judge: requirements/second_judge.txt
$(LAMBDA)/.lambda: requirements/lambda.txt

.PHONY: install install-test install-lint
install: $(VENV)/.local ## the command endpoint-sizer, into .venv/bin
install-test: $(VENV)/.test
install-lint: $(VENV)/.lint $(DEPLOY)/.deploy $(CHECKOV)/.checkov

# --- A sizing on this machine ------------------------------------------------------------------

.PHONY: demo demo-real
demo: $(VENV)/.local ## size the endpoint of examples/distilbert.json on the embedded AWS
	@exec $(VENV)/bin/endpoint-sizer demo $(ARGS)
demo-real: $(VENV)/.local ## the same with a real model server, examples/real, which it installs
	@exec $(VENV)/bin/endpoint-sizer demo --real $(ARGS)

# --- Checks and build --------------------------------------------------------------------------

# Four at once on two cores, as many tests wait. ARGS="-n 0" runs them one after the other. A run
# of all of them must cover what tests/conftest.py says.
.PHONY: test
test: $(VENV)/.test ## run all tests, and say what they cover; ARGS="-k name" goes to pytest
	@exec $(VENV)/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not examples and not browser and not faults" --cov --cov-report= $(ARGS)

.PHONY: examples
examples: $(VENV)/.test ## size examples/arithmetic/ under real load, side by side, and check the answers
	@exec $(VENV)/bin/python -m pytest -m examples $(ARGS)

$(VENV)/.browser: requirements/browser.txt $(VENV)/.test
	$(INSTALL) -r $<
	@touch $@

.PHONY: browser
browser: $(VENV)/.browser ## look at the report in Chromium, where there is one
	@exec $(VENV)/bin/python -m pytest -m browser $(ARGS)

.PHONY: screenshots
screenshots: $(VENV)/.local ## take the README's picture anew, of a demo that is run for it
	@rm -rf out/screenshots
	@$(VENV)/bin/endpoint-sizer demo --out out/screenshots
	@tools/screenshot out/screenshots/report.html

.PHONY: faults faults-fast
faults-fast: $(VENV)/.test ## some faults of each kind, in machines, functions and load generators
	@exec $(VENV)/bin/python -m pytest -m faults $(ARGS)
faults: $(VENV)/.test ## everything that can go wrong, and that nothing is left: ARGS="--only CreateModel"
	@exec $(VENV)/bin/python -m tests.faults $(ARGS)

.PHONY: lint
lint: install-lint ## check code, types, template, state machines, Dockerfile and scripts
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" SAM="$(CURDIR)/$(DEPLOY)/bin/sam" \
	    CHECKOV="$(CURDIR)/$(CHECKOV)/bin/checkov" tools/lint

.PHONY: build
build: $(DEPLOY)/.deploy ## sam build: one artifact for all functions, python3.13 on arm64
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PACKAGE_INDEX) $(DEPLOY)/bin/sam build
	@$(VENV)/bin/python -m tools.artifact .aws-sam/build

# Your answers go to a file that git ignores, which begins as a copy of the defaults: the SAM CLI takes
# one that is there, and no other beside it.
ANSWERS := samconfig.local.toml
.PHONY: deploy
deploy: build $(VENV)/.local ## build and deploy; asks for the parameters the first time
	@guided=; [ -f $(ANSWERS) ] || { cp samconfig.toml $(ANSWERS); guided=--guided; }; \
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(DEPLOY)/bin/sam deploy $$guided --config-file "$(CURDIR)/$(ANSWERS)" $(ARGS) \
	    || { status=$$?; ! cmp -s samconfig.toml $(ANSWERS) || rm $(ANSWERS); exit $$status; }

.PHONY: second-judge
second-judge: $(VENV)/.lint $(DEPLOY)/.deploy $(JUDGE)/.second-judge $(LAMBDA)/.lambda ## deploy to emulators of others, and compare
	@exec $(VENV)/bin/python -m tests.second_judge --sam $(DEPLOY)/bin/sam --python $(JUDGE)/bin/python \
	    --lambda-python $(LAMBDA)/bin/python --node $(VENV)/bin/node

# --- Benchmarks --------------------------------------------------------------------------------

.PHONY: bench-change bench-load bench-search bench-start plot-search
bench-change: $(VENV)/.test ## how well a change is told from chance, over simulated pairs of sizings: SEED=<n>
	@exec $(VENV)/bin/python -m benchmarks.change $(if $(SEED),--seed $(SEED)) $(ARGS)
bench-load: $(VENV)/.test ## load generator against the method's own client, and what holds in real time alone
	@exec $(VENV)/bin/python -m benchmarks.load $(ARGS)
bench-search: $(VENV)/.test ## search against the plain loop, over simulated endpoints: SEED=<n>
	@exec $(VENV)/bin/python -m benchmarks.search $(if $(SEED),--seed $(SEED)) $(ARGS)

bench-start: $(VENV)/.test ## how soon the command says its help
	@exec $(VENV)/bin/python -m benchmarks.start

$(VENV)/.plot: requirements/plot.txt $(VENV)/.test
	$(INSTALL) -r $<
	@touch $@

plot-search: $(VENV)/.plot ## make the plot of docs/search.md anew
	@exec $(VENV)/bin/python -m benchmarks.search.plot docs/images/search.svg --endpoints 2000

# --- Documents ---------------------------------------------------------------------------------

# An environment of its own: the generator shares nothing with what it describes.
DOCS := .venv-docs
$(DOCS)/.docs: requirements/docs.txt $(VENV)/.uv
	@echo "installing $<"
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes -r $<
	@touch $@

.PHONY: docs
docs: $(DOCS)/.docs ## the site of docs/, in out/site; a link that leads nowhere fails it
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --quiet --clean

# --- Release -----------------------------------------------------------------------------------

RELEASE := .venv-release
$(RELEASE)/.release: requirements/release.txt $(VENV)/.uv
	@echo "installing $<"
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(@D)
	@$(UV) pip install --quiet --python $(@D)/bin/python --require-hashes -r $<
	@touch $@

.PHONY: dist
dist: $(RELEASE)/.release ## wheel, source and bills of materials of a release, in out/dist
	@rm -rf out/dist
	@$(RELEASE)/bin/python -m build --no-isolation --outdir out/dist . >/dev/null
	@for each in functions local locust; do \
	    $(RELEASE)/bin/cyclonedx-py requirements --output-reproducible -o out/dist/$$each.cdx.json \
	        requirements/$$each.txt || exit; \
	done
	@ls out/dist

# --- Upkeep ------------------------------------------------------------------------------------

# test.txt holds every version that the smaller sets share; they take theirs from it. What the
# command itself needs stands in pyproject.toml.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)
.PHONY: lock
lock: $(VENV)/.uv ## write requirements/*.txt anew from *.in; UPGRADE=1 takes newer versions
	@set -e; \
	lock() { name=$$1; shift; $(COMPILE) requirements/$$name.in "$$@" -o requirements/$$name.txt; }; \
	for each in uv deploy checkov second_judge lambda docs release real step_functions_sdk; do lock $$each; done; \
	lock test pyproject.toml; \
	for each in functions locust sagemaker; do lock $$each -c requirements/test.txt; done; \
	for each in local lint plot browser; do lock $$each pyproject.toml -c requirements/test.txt; done

# An environment of its own: the SDK takes 700 MB, and only this target needs all of it.
SAGEMAKER := .venv-sagemaker
.PHONY: hugging-face-images
hugging-face-images: $(VENV)/.uv ## make the table of Hugging Face images anew from the sagemaker SDK
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(SAGEMAKER)
	@$(UV) pip install --quiet --python $(SAGEMAKER)/bin/python --require-hashes \
	    -r requirements/sagemaker.txt
	@$(SAGEMAKER)/bin/python -W ignore tools/make_hugging_face_images.py \
	    functions/sizing/catalogue/hugging_face_images.json

# An environment of its own: the SDK is an old one.
SDK_FIELDS := .venv-step-functions-sdk
.PHONY: sdk-fields
sdk-fields: $(VENV)/.uv ## make the list of what Step Functions' SDK knows anew, from an old botocore
	@$(UV) venv --quiet --allow-existing --python $(VENV)/bin/python $(SDK_FIELDS)
	@$(UV) pip install --quiet --python $(SDK_FIELDS)/bin/python --require-hashes \
	    -r requirements/step_functions_sdk.txt
	@$(SDK_FIELDS)/bin/python tools/sdk_fields.py local/stepfunctions/sdk_fields.json

.PHONY: clean
clean: ## remove environments, builds, results and caches
	@rm -rf $(VENV) $(DEPLOY) $(CHECKOV) $(JUDGE) $(SAGEMAKER) $(SDK_FIELDS) .venv-real tools/*/node_modules .aws-sam out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
