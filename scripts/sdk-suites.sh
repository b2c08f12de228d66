#!/usr/bin/env bash
# Puts the suites of the SDKs into a folder: sdk-suites.sh FOLDER. PYTHON is the interpreter that fetches the one of
# Python; SDK_JS, where it is set, names a checkout of centrifuge-js, which is copied and left as it is.
set -euo pipefail
folder=$1 python=${PYTHON:-python3}

fail() {
    echo "make sdk-suites: $*" >&2
    exit 1
}

mkdir -p "$folder"
if ! cmp --silent requirements/sdk-suites.txt "$folder/sdk-suites.txt"; then
    echo "Fetching the suite of centrifuge-python"
    rm -rf "$folder"/centrifuge_python-*
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
        --require-hashes --dest "$folder" --requirement requirements/sdk-suites.txt
    tar --extract --gzip --directory "$folder" --file "$folder"/centrifuge_python-*.tar.gz
    cp requirements/sdk-suites.txt "$folder"
fi

[[ -n ${SDK_JS:-} ]] || exit 0
[[ -f $SDK_JS/src/centrifuge.test.ts && -f $SDK_JS/package.json ]] || fail "$SDK_JS is no checkout of centrifuge-js"
command -v npm >/dev/null || fail "the suite of centrifuge-js needs Node and npm"
revision=$(git -C "$SDK_JS" rev-parse --short HEAD 2>/dev/null || echo "of no known commit")
echo "Copying $SDK_JS, $revision, and installing what it runs on"
rm -rf "$folder/js"
mkdir "$folder/js"
tar --create --directory "$SDK_JS" --exclude node_modules --exclude .git . | tar --extract --directory "$folder/js"
echo "$revision" >"$folder/js.revision"
cd "$folder/js"
# Its lock names a registry, which may not be the one here; and what writes its documentation wants an older TypeScript.
npm install --ignore-scripts --legacy-peer-deps --no-package-lock --no-audit --no-fund --loglevel=error
