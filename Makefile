# make demo: score the bundled calls.  make test: check and test everything.  make serve: start the service.
# As root on Debian, make test installs what the tests need besides: postgresql, chromium, fonts-noto-cjk, openssl, unzip.
# make bench: how fast, and in how much memory.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
# Programs are started hundreds of times in the tests; compiled once, they start a fifth sooner.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-ray check serve bench schema pictures clean

demo: .venv/demo
	$(BIN)/python -m app.demo

serve: .venv/demo
	$(BIN)/callaudit serve --host 127.0.0.1 --port 8000

bench: .venv/test
	$(BIN)/python -m tests.benchmarks

schema: .venv/demo
	$(BIN)/python -m app.schema

# Those of README, of the service with the bundled models as it is now.
pictures: .venv/test
	$(BIN)/python -m tests.pictures

test: check .venv/axe.min.js
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

check: .venv/test
	$(BIN)/ruff format --check app models pipelines tests
	$(BIN)/ruff check app models pipelines tests
	$(BIN)/mypy app models pipelines
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --quiet --check-metaschema docs/schema/report.json

# torch comes first: whatever depends on it would fetch the newest build with its CUDA packages.
.venv/demo: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/test: .venv/demo
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[train,test]"
	touch $@

# Apart, since Ray is an extra of 70 MB, and its two nodes, one of which is killed, take more than a minute.
test-ray: .venv/test
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[ray]"
	$(BIN)/python -m pytest tests/archive/test_ray.py

# axe-core finds what keeps people out of the pages; where there is no npm, its tests skip themselves.
.venv/axe.min.js: .venv/test
	if command -v npm >/dev/null; then npm pack --silent --pack-destination .venv axe-core@4.14.1 \
	    && tar -xzf .venv/axe-core-4.14.1.tgz -C .venv --strip-components=1 package/axe.min.js; fi

clean:
	rm -rf .venv out
