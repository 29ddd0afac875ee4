#!/bin/sh
# Installs what the tests need beside Python packages: Chromium, which photographs the report page and the page of `kimivl data view`,
# and the library that OpenCV wants for the noise of documents.
# Where they cannot be installed (no root, no apt, no network) this names the tests that will be left out and succeeds.

packages=
left_out=

# The names under which the tests look for it.
if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null; then
    packages="chromium fonts-dejavu-core"
    left_out="tests/eval/test_report_browser.py, tests/catalog/view/test_browser.py"
fi
if ! ldconfig -p 2>/dev/null | grep -q 'libGL\.so\.1'; then
    packages="$packages libgl1 libglib2.0-0"
    left_out="${left_out:+$left_out, }tests/data/augment/test_documents.py"
fi
[ -z "$packages" ] && exit 0
[ -n "$CI" ] && left_out="$left_out (in CI they fail)"

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $packages for the tests …"
    apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null &&
        exit 0
    echo "apt could not install $packages; left out: $left_out"
else
    echo "No root or no apt to install $packages; left out: $left_out"
fi
