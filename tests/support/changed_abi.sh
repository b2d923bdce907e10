#!/usr/bin/env bash
# Builds a host and plugins against a plugin-api whose `Record` has one field more, for tests/suite/handshake.rs.
#
# usage: changed_abi.sh TARGET     leaves TARGET/changed-abi/out/{lockstep,lib*.so}
#
# The sources are copied, the change is made in the copy, and what does not depend on it is taken over from TARGET, so
# that only the workspace's own crates are compiled again.
set -euo pipefail
mkdir -p "$1"
target=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
work=$target/changed-abi

mkdir -p "$work/source"
tar -c --exclude=./target --exclude=./.git --exclude=./lockstep-data . | tar -x -C "$work/source" --skip-old-files
# Files are taken over only if they differ: cargo goes by their time.
while IFS= read -r -d '' file; do
    copy=$work/source/$file
    if [ "$file" = ./plugin-api/src/record.rs ]; then
        changed=$(sed 's/^    timestamp_us: i64,$/    timestamp_us: i64,\n    changed: u64,/; s/^            timestamp_us: 0,$/            timestamp_us: 0,\n            changed: 0,/' "$file")
        [ "$changed" != "$(cat "$file")" ] || { echo "record.rs is not as this script expects it" >&2; exit 1; }
        [ "$changed" = "$(cat "$copy")" ] || printf '%s\n' "$changed" > "$copy"
    elif ! cmp -s "$file" "$copy"; then
        cp "$file" "$copy"
    fi
done < <(find . \( -path ./target -o -path ./.git -o -path ./lockstep-data \) -prune -o -type f -print0)
(cd "$work/source" && find . -type f -print0) | while IFS= read -r -d '' copy; do
    [ -e "$copy" ] || rm "$work/source/$copy"
done

if [ ! -d "$work/target/ci" ] && [ -d "$target/ci" ]; then
    mkdir -p "$work/target/ci"
    cp -a "$target/ci/.fingerprint" "$target/ci/build" "$work/target/ci/"
    mkdir "$work/target/ci/deps"
    find "$target/ci/deps" -maxdepth 1 -type f \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.d' -o -name '*.so' \) \
        ! -name '*lockstep*' -exec cp -al -t "$work/target/ci/deps" {} +
fi
CARGO_TARGET_DIR=$work/target cargo build --quiet --profile ci --workspace --lib --bins --examples --locked \
    --manifest-path "$work/source/Cargo.toml"

mkdir -p "$work/out"
ln -f "$work/target/ci/lockstep" "$work/target/ci/examples/librename_key.so" \
    "$work/target/ci/liblockstep_plugin_file.so" "$work/target/ci/liblockstep_plugin_probe.so" "$work/out/"
