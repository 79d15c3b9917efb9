#!/usr/bin/env bash
# build.sh go GO OUT          GO is the tool's path, empty when there is none
# build.sh tokio CARGO OUT
#
# Builds the program into OUT/weir_bench_<name>. What stands in the way is no error: it is written to
# OUT/weir_bench_<name>.absent, which the benchmark reports. Nothing is fetched.
set -euo pipefail

name=$1 tool=$2 out=$3
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/$name" && pwd)
program=$out/weir_bench_$name
work=$out/$name
# Where Debian's librust-…-dev packages put their sources.
crates=/usr/share/cargo/registry

mkdir -p "$work"
rm -f "$program" "$program.absent"

absent() {
  echo "$*" >"$program.absent"
  echo "weir: no $name beside the benchmarks: $*" >&2
  exit 0
}

# The first line of what a failed tool wrote that says most.
complaint() {
  grep -m1 -i error "$work/log" || tail -n1 "$work/log"
}

build_go() {
  [[ -n $tool ]] || absent "Go is not installed (Debian: golang)"
  env GO111MODULE=off GOFLAGS= GOTOOLCHAIN=local GOPROXY=off CGO_ENABLED=0 GOCACHE="$work/cache" GOPATH="$work/path" \
    "$tool" build -o "$program" "$source/main.go" >"$work/log" 2>&1 || absent "it did not build: $(complaint)"
}

build_tokio() {
  [[ -n $tool ]] || absent "Cargo is not installed (Debian: cargo)"
  compgen -G "$crates/tokio-1.*" >/dev/null || absent "Tokio is not installed (Debian: librust-tokio-dev)"

  # The compiler beside this Cargo, else the one that is found. A copy of the sources: Cargo writes its lock file there.
  local rustc
  rustc=$(dirname "$tool")/rustc
  [[ -x $rustc ]] || rustc=$(command -v rustc) || absent "rustc is not installed (Debian: rustc)"
  rm -rf "$work/package"
  cp -R "$source" "$work/package"
  cd "$work/package"
  env RUSTC="$rustc" CARGO_HOME="$work/home" CARGO_TARGET_DIR="$work/target" "$tool" build --release --offline --quiet \
    --config 'source.crates-io.replace-with="installed"' --config "source.installed.directory=\"$crates\"" \
    >"$work/log" 2>&1 || absent "it did not build: $(complaint)"
  cp "$work/target/release/weir_bench_tokio" "$program"
}

"build_$name"
