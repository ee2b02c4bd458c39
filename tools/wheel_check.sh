#!/bin/sh
# Builds the wheel, installs it with its extras into an environment of its own, and runs the command line there, away
# from the clone: make wheel-check. Ends with an error where a command fails or writes into the installation.
set -eu
clone=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
mkdir "$work/source" "$work/run"
(cd "$clone" && git ls-files -z | xargs -0 cp --parents -t "$work/source")
"${PYTHON:-python3}" -m venv "$work/venv"
pip() { "$work/venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip wheel --no-deps --wheel-dir "$work" "$work/source"
wheel=$(ls "$work"/*.whl)
pip install "$wheel[sim,board,server]"
export BITNET_FPGA_CACHE="$work/cache"
unset PYTHONPATH YOSYS
cd "$work/run"
bitnet="$work/venv/bin/bitnet-fpga"
model="$clone/models/shakespeare-nano"
touch "$work/installed"
"$bitnet" --version
"$bitnet" verilog --preset tiny
"$bitnet" build --board kv260 --output out
for name in accelerator.v bitnet.v parameters.tcl bitnet.dtso build.tcl bitnet.bif shell.json load.sh; do
    [ -s "out/kv260/$name" ] || { echo "build --board kv260 wrote no $name" >&2; exit 1; }
done
"$bitnet" boards
"$bitnet" flash --board ulx3s --dry-run
for backend in golden sim; do
    "$bitnet" generate "$model" --backend $backend --prompt "ROMEO:" --max-new-tokens 8 --context 64 --json > $backend.json
done
cmp golden.json sim.json
"$work/venv/bin/python" -c 'import sys; from bitnet_fpga import Session
with Session(sys.argv[1]) as session: print(session.generate("ROMEO:", max_new_tokens=8).text)' "$model"
cat sim.json
"$bitnet" serve "$model" --port 0 2> serve.txt &
served=$!
"$work/venv/bin/python" - <<'END'
import re, time, urllib.request
for _ in range(300):
    time.sleep(0.2)
    said = open("serve.txt").read()
    if "ready" in said:
        break
url = re.search(r"http://\S+:\d+", said)[0]
assert b"<!doctype html>" in urllib.request.urlopen(url).read()
asked = urllib.request.Request(url + "/v1/completions", b'{"prompt": "ROMEO:", "max_tokens": 8}',
                               {"Content-Type": "application/json"})
print(urllib.request.urlopen(asked).read().decode())
END
kill "$served"
wait "$served"
written=$(find "$work/venv" -newer "$work/installed" ! -type d ! -name '*.pyc' | head -n 3)
[ -z "$written" ] || { echo "written into the installation: $written" >&2; exit 1; }
echo "the wheel works: $(basename "$wheel")"
